"""COCO evaluation, against the reference's numbers and against what can be worked out by hand."""

import copy
import json
import os
import pathlib

import numpy as np
import pytest

from hrnet_tf import skeletons
from hrnet_tf.benchmarks.coco import published_coco
from hrnet_tf.benchmarks.mpii import published_pckh
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation import evaluate_coco
from hrnet_tf.evaluation.average_precision import STATISTICS, read_table
from hrnet_tf.evaluation.coco import keypoint_results
from hrnet_tf.evaluation.similarity import Suppression

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "coco_eval.json").read_text())
SAMPLE = os.environ.get("HRNET_TF_COCO_SAMPLE")
AREA = 12000.0  # "large" for COCO, which divides at 96² pixels
SIGMA = 0.05


def make_people(num_people, num_keypoints=17):
    """[N, K, 3] poses far apart, all keypoints scored 1."""
    rng = np.random.default_rng(num_people)
    keypoints = rng.uniform(10, 150, (num_people, num_keypoints, 3))
    keypoints[..., 0] += 1000 * np.arange(num_people)[:, None]
    keypoints[..., 2] = 1
    return keypoints.round()


def make_annotations(keypoints, image_ids, category=None):
    """A COCO-format dataset with these people; images are numbered from 1."""
    category = category or {"id": 1, "name": "person", "keypoints": list(skeletons.COCO.names)}
    people = []
    for i, (points, image_id) in enumerate(zip(keypoints, image_ids, strict=True)):
        labelled = np.concatenate([points[:, :2], np.full((len(points), 1), 2)], axis=1)
        people.append(
            {
                **{"id": i + 1, "image_id": int(image_id), "category_id": category["id"], "iscrowd": 0},
                **{"bbox": [0, 0, 100, 120], "area": AREA, "num_keypoints": len(points)},
                "keypoints": labelled.ravel().tolist(),
            }
        )
    images = [{"id": i + 1, "height": 480, "width": 640} for i in range(max(image_ids))]
    return {"images": images, "annotations": people, "categories": [category]}


def animal_category(**extra):
    return {"id": 7, "name": "animal", "keypoints": ["nose", "l_paw", "r_paw", "back", "tail"], **extra}


def evaluate(annotations, image_ids, keypoints, **options):
    n = len(keypoints)
    return evaluate_coco(annotations, image_ids, keypoints, np.ones(n), np.full(n, AREA), **options)


def golden_arguments(source):
    case = GOLDEN[source]
    areas = np.prod(np.array(case["scale_200px"]) * 200, axis=1)
    return case["image_id"], np.array(case["keypoints"], np.float32), case["box_score"], areas


@pytest.mark.parametrize("source", ["gt", "det"])
def test_rescoring_and_nms_match_the_reference(source):
    case = GOLDEN[source]
    results = keypoint_results(*golden_arguments(source), category_id=1)
    assert len(results) == case["after_nms"]
    # The reference lists images as they first occur.
    rank = {image_id: i for i, image_id in enumerate(dict.fromkeys(case["image_id"]))}
    results.sort(key=lambda result: rank[result["image_id"]])
    np.testing.assert_allclose([result["score"] for result in results], case["result_scores"], atol=2e-6)


@pytest.mark.skipif(not SAMPLE, reason="needs the folder of a COCO sample in HRNET_TF_COCO_SAMPLE")
@pytest.mark.parametrize("source", ["gt", "det"])
def test_statistics_match_the_reference(source):
    annotation_file = pathlib.Path(SAMPLE) / "annotations" / "person_keypoints_val2017.json"
    statistics = evaluate_coco(annotation_file, *golden_arguments(source))
    # The golden file lists the statistics in pycocotools' order too.
    assert list(statistics) == list(STATISTICS)
    np.testing.assert_allclose(list(statistics.values()), list(GOLDEN[source]["stats"].values()), atol=1e-4)


def test_perfect_predictions_give_one_in_any_order():
    keypoints = make_people(6)
    image_ids = np.array([3, 1, 2, 1, 3, 3])
    annotations = make_annotations(keypoints, image_ids)
    order = [4, 0, 5, 2, 1, 3]
    statistics = evaluate(annotations, image_ids[order], keypoints[order])
    assert list(statistics) == list(STATISTICS)
    assert all(type(value) is float for value in statistics.values())
    assert statistics == {name: -1 if name in ("APm", "ARm") else pytest.approx(1) for name in STATISTICS}


@pytest.mark.parametrize(("similarity", "num_passed"), [(0.97, 10), (0.72, 5), (0.52, 1), (0.48, 0)])
def test_a_shift_passes_the_thresholds_below_its_oks(similarity, num_passed):
    category = animal_category(sigmas=[SIGMA] * 5)
    keypoints = make_people(2, num_keypoints=5)
    annotations = make_annotations(keypoints, [1, 1], category)
    shifted = keypoints.copy()
    shifted[..., 1] += np.sqrt(-2 * AREA * (2 * SIGMA) ** 2 * np.log(similarity))
    statistics = evaluate(annotations, [1, 1], shifted)
    assert statistics["AP"] == pytest.approx(num_passed / 10)
    assert statistics["AR"] == pytest.approx(num_passed / 10)
    assert statistics["AP50"] == pytest.approx(float(similarity > 0.5))
    assert statistics["AP75"] == pytest.approx(float(similarity > 0.75))


def test_sigmas_given_replace_those_of_the_file():
    keypoints = make_people(1, num_keypoints=5)
    annotations = make_annotations(keypoints, [1], animal_category(sigmas=[SIGMA] * 5))
    shifted = keypoints + np.array([10, 0, 0])
    strict = evaluate(annotations, [1], shifted, sigmas=[0.01] * 5)
    mild = evaluate(annotations, [1], shifted, sigmas=[1.0] * 5)
    assert (strict["AP"], mild["AP"]) == (0, pytest.approx(1))
    with pytest.raises(InputError, match=r"each of 5 keypoints"):
        evaluate(annotations, [1], shifted, sigmas=[0.1] * 17, suppression=Suppression(nms="none"))


def test_duplicates_are_removed_and_do_not_change_ap(tmp_path):
    keypoints = make_people(2)
    annotations = make_annotations(keypoints, [1, 1])
    twice = np.concatenate([keypoints, keypoints[:1]])
    arguments = (annotations, [1, 1, 1], twice, [0.9, 0.5, 0.7], [AREA] * 3)
    assert evaluate_coco(*arguments, results_file=tmp_path / "results.json")["AP"] == pytest.approx(1)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [result["score"] for result in results] == [0.9, 0.5]
    # Kept, the duplicate is a false positive between the two: 51 recall points at 1, 50 at 2/3.
    assert evaluate_coco(*arguments, suppression=Suppression(nms="none"))["AP"] == pytest.approx(
        (51 + 50 * 2 / 3) / 101
    )


def test_duplicates_are_found_among_unordered_images():
    keypoints = make_people(2)[[0, 1, 0, 1]]
    results = keypoint_results([8, 3, 8, 3], keypoints, [0.5, 0.6, 0.7, 0.8], [AREA] * 4)
    assert [(result["image_id"], result["category_id"], result["score"]) for result in results] == [
        (3, 1, 0.8),
        (8, 1, 0.7),
    ]


def test_categories_stay_with_their_people():
    keypoints = make_people(2)[[0, 1, 0, 1]]
    results = keypoint_results([8, 3, 8, 3], keypoints, [0.5, 0.6, 0.7, 0.8], [AREA] * 4, category_id=[5, 6, 7, 8])
    assert [result["category_id"] for result in results] == [8, 7]


def test_people_alike_in_different_images_are_both_kept():
    keypoints = make_people(1).repeat(2, axis=0)
    assert evaluate(make_annotations(keypoints, [1, 2]), [1, 2], keypoints)["AR"] == pytest.approx(1)


def test_images_without_predictions_count_as_missed():
    keypoints = make_people(4)
    annotations = make_annotations(keypoints, [1, 2, 3, 4])
    assert evaluate(annotations, [2], keypoints[1:2])["AR"] == pytest.approx(0.25)
    nobody = evaluate(annotations, [], np.zeros((0, 17, 3)))
    assert (nobody["AP"], nobody["AR"]) == (0, 0)


def test_results_file_has_the_coco_format_and_leaves_nothing_beside_it(tmp_path):
    keypoints = make_people(1)
    keypoints[..., 2] = 0.5
    annotations = make_annotations(keypoints, [1])
    evaluate(annotations, [1], keypoints, results_file=tmp_path / "results.json")
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    (result,) = json.loads((tmp_path / "results.json").read_text())
    assert result == {"image_id": 1, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "score": 0.5}


def test_a_path_and_a_dict_give_the_same_and_the_dict_is_not_changed(tmp_path, capsys):
    keypoints = make_people(3)
    annotations = make_annotations(keypoints, [1, 1, 2])
    (tmp_path / "people.json").write_text(json.dumps(annotations))
    given = copy.deepcopy(annotations)
    from_dict = evaluate(annotations, [1, 2], keypoints[[0, 2]])
    assert annotations == given
    assert evaluate(tmp_path / "people.json", [1, 2], keypoints[[0, 2]]) == from_dict
    assert capsys.readouterr().out == ""


def test_files_with_ids_from_zero_and_without_optional_fields():
    keypoints = make_people(2)
    annotations = make_annotations(keypoints, [1, 1])
    for i, annotation in enumerate(annotations["annotations"]):
        annotation["id"] = i
        del annotation["num_keypoints"], annotation["iscrowd"]
    annotations["annotations"].append({"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81.0})
    assert evaluate(annotations, [1, 1], keypoints)["AP"] == pytest.approx(1)


def test_people_of_other_categories_are_not_evaluated():
    keypoints = make_people(1)
    annotations = make_annotations(keypoints, [1])
    annotations["categories"].insert(0, {"id": 9, "name": "dog"})
    annotations["annotations"].append({**annotations["annotations"][0], "id": 2, "category_id": 9})
    assert evaluate(annotations, [1], keypoints)["AR"] == pytest.approx(1)


@pytest.mark.parametrize("change", [{"bbox": [5000, 0, 100, 120]}, {"area": 0}, {"keypoints": [5, 5, 0] * 17}])
def test_who_is_not_trained_on_is_not_missed(change):
    keypoints = make_people(2)
    annotations = make_annotations(keypoints, [1, 1])
    assert evaluate(annotations, [1], keypoints[:1])["AR"] == pytest.approx(0.5)
    annotations["annotations"][1] |= change
    assert evaluate(annotations, [1], keypoints[:1])["AR"] == pytest.approx(1)


def test_a_crowd_is_not_missed_and_takes_as_many_predictions_as_there_are():
    keypoints = make_people(2)[[0, 1, 1]]
    annotations = make_annotations(keypoints[:2], [1, 1])
    annotations["annotations"][1]["iscrowd"] = 1
    assert evaluate(annotations, [1], keypoints[:1])["AR"] == pytest.approx(1)
    found = evaluate_coco(
        annotations, [1] * 3, keypoints, [0.5, 1.0, 1.0], [AREA] * 3, suppression=Suppression(nms="none")
    )
    assert found["AP"] == pytest.approx(1)


def predictions(**changes):
    """Usable arguments for the two people of images 1 and 2, but for the changes."""
    return {
        "image_ids": [1, 2],
        "keypoints": make_people(2),
        "box_scores": [1.0, 1.0],
        "areas": [AREA, AREA],
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"box_scores": [1.0]}, r"box_scores must have shape \(2,\).*Received: \(1,\)"),
        ({"areas": [[AREA], [AREA]]}, r"areas must have shape \(2,\).*Received: \(2, 1\)"),
        ({"keypoints": make_people(2)[..., :2]}, r"keypoints must have shape \(2, 17, 3\).*Received: \(2, 17, 2\)"),
        ({"keypoints": make_people(2, 16)}, r"the file's 17 keypoints.*Received: \(2, 16, 3\)"),
        ({"keypoints": make_people(2) * [[[1.0]], [[np.nan]]]}, "keypoints must be finite.*person 1"),
        ({"box_scores": [np.inf, 1.0]}, "box_scores must be finite.*person 0"),
        ({"areas": [AREA, -1.0]}, r"areas must not be negative. Received: -1"),
        ({"image_ids": [1, 55]}, "image_ids must be in the images of annotation_file.*1 that are not: 55"),
        ({"results_file": "/no/such/folder/results.json"}, "cannot write /no/such/folder/results.json"),
    ],
)
def test_bad_predictions_are_refused_in_one_line(changes, message):
    annotations = make_annotations(make_people(2), [1, 2])
    with pytest.raises(InputError, match=message) as error:
        evaluate_coco(annotations, **predictions(**changes))
    assert "\n" not in str(error.value)


def without(annotations, key):
    return {name: value for name, value in annotations.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "annotations"), "no annotations"),
        (
            lambda a: {**a, "categories": [{"id": 1, "name": "dog"}], "annotations": []},
            r"must list its keypoints.*\['dog'\]",
        ),
        (lambda a: {**a, "annotations": []}, "nobody is left.*Read: 0 annotations"),
        (lambda a: {**a, "annotations": [without(a["annotations"][0], "bbox")]}, "1 people without a box"),
        (
            lambda a: {**a, "annotations": [{**a["annotations"][0], "keypoints": [1, 2, 2]}]},
            "annotation 1.*51 finite numbers",
        ),
    ],
)
def test_bad_annotations_are_refused(change, message):
    annotations = change(make_annotations(make_people(2), [1, 2]))
    with pytest.raises(InputError, match=message):
        evaluate_coco(annotations, **predictions())
    with pytest.raises(InputError, match=message):
        read_table(annotations)


@pytest.mark.parametrize("content", [None, "{not json", "[]", "5"])
def test_annotation_files_that_cannot_be_read_are_named(tmp_path, content):
    path = tmp_path / "people.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"people\.json"):
        evaluate_coco(path, **predictions())


def test_suppression_decides_what_becomes_of_duplicates():
    """Two copies of a person and a third one: OKS-NMS drops a copy, the soft one ranks it last."""
    keypoints = make_people(2)[[0, 0, 1]]
    keypoints[0, :, 2] = 0.9
    keypoints[2, :, 2] = 0.8
    arguments = ([1, 1, 1], keypoints, np.ones(3), np.full(3, AREA))

    def first_x(nms, **thresholds):
        results = keypoint_results(*arguments, suppression=Suppression(nms, **thresholds))
        return [result["keypoints"][0] for result in results]

    person, other = keypoints[0, 0, 0], keypoints[2, 0, 0]
    assert first_x("none") == [person, person, other]
    assert first_x("oks") == [person, other]
    assert first_x("soft") == [person, other, person]
    assert first_x("oks", oks_threshold=1.1) == [person, person, other]
    low = keypoint_results(*arguments, suppression=Suppression("none", score_threshold=0.85))
    assert [result["score"] for result in low] == pytest.approx([1, 0.9, 0])


def test_published_results_name_their_boxes():
    assert published_coco("hrnet_w32", (256, 192), detector_boxes=True)["AP"] == 0.744
    assert published_coco("hrnet_w32", (256, 192), detector_boxes=False) == {"AP": 0.765}
    assert list(published_coco("pose_resnet152", (384, 288), detector_boxes=True)) == list(STATISTICS)
    assert published_coco("hrnet_w18_small_v1", (256, 192), detector_boxes=True) == {}
    assert published_pckh("hrnet_w32", (256, 256))["Mean"] == 90.3
    assert published_pckh("hrnet_w48", (256, 256)) == {}
