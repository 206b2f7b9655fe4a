"""Benchmarks of other keypoint sets: against their authors' numbers, and against what can be worked out by hand."""

import json
import os
import pathlib

import cv2
import keras
import numpy as np
import pytest
import tool_runs
from test_fuzz_annotations import damaged, outcome

from hrnet_tf import benchmarks
from hrnet_tf.benchmarks import benchmark_class, coco_like, load_people, open_benchmark
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.pipeline import training_dataset
from hrnet_tf.doctor import check_content
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation.average_precision import STATISTICS
from hrnet_tf.skeletons import named

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "sets_eval.json").read_text())
SAMPLES = os.environ.get("HRNET_TF_KEYPOINT_SETS_SAMPLES")
# The golden file's names of statistics that are called otherwise here.
OURS = {"AP .5": "AP50", "AP .75": "AP75", "AP (M)": "APm", "AP (L)": "APl", "AR .5": "AR50", "AR .75": "AR75"} | {
    **{"AR (M)": "ARm", "AR (L)": "ARl"},
    **{"AP(E)": "AP easy", "AP(M)": "AP medium", "AP(H)": "AP hard"},
}
SETS = ("aic", "ap10k", "coco_wholebody", "crowdpose", "halpe", "ochuman")
WITHOUT_AREAS = ("aic", "crowdpose")
PARTS = ("whole", "body", "foot", "face", "lefthand", "righthand", "hand")
BOX = (100, 120)
# Where authors put the annotations and images of a split.
PLACES = {
    "aic": ("val", "annotations/aic_val.json", "ai_challenger_keypoint_validation_20170911/"
            "keypoint_validation_images_20170911"),
    "ap10k": ("val-split1", "annotations/ap10k-val-split1.json", "data"),
    "coco_wholebody": ("val2017", "annotations/coco_wholebody_val_v1.0.json", "val2017"),
    "crowdpose": ("test", "json/crowdpose_test.json", "images"),
    "halpe": ("train", "annotations/halpe_train_v1.json", "hico_20160224_det/images/train2015"),
    "ochuman": ("test", "annotations/ochuman_coco_format_test_range_0.00_1.00.json", "images"),
}  # fmt: skip


def poses(name, count):
    """[N,K,3] poses far apart, each in a box of 100 by 120 pixels, all keypoints scored 1."""
    rng = np.random.default_rng(count)
    keypoints = np.ones((count, named(name).num_keypoints, 3))
    keypoints[..., :2] = rng.uniform(5, BOX, keypoints[..., :2].shape).round()
    keypoints[..., 0] += 200 * np.arange(count)[:, None]
    return keypoints


def annotated(name, keypoints, image_ids, category_ids=None):
    """Annotations of these people, all keypoints visible, in the form of a benchmark; images are numbered from 1."""
    form = coco_like(name).form
    names = [] if name == "halpe" else list(named(name).names)[: 17 if form.parts else None]
    category_ids = category_ids or [1] * len(keypoints)
    people = []
    for i, (points, image_id) in enumerate(zip(keypoints, image_ids, strict=True)):
        labelled = np.concatenate([points[:, :2], np.full((len(points), 1), 2)], axis=1)
        fields = {field: labelled[place].ravel().tolist() for field, place in form.fields(len(points))}
        person = {"id": i, "image_id": image_id, "category_id": category_ids[i], "bbox": [200 * i, 0, *BOX], **fields}
        if name == "coco_wholebody":
            person["righthand_kpts"][2::3] = [0.1] * 21  # fractions are visibilities, too
        people.append(person | {"num_keypoints": len(points), "iscrowd": 0})
        if name not in WITHOUT_AREAS:
            people[-1]["area"] = 0.53 * np.prod(BOX)
    size = {"width": 200 * len(keypoints) + 100, "height": 300}
    images = [{"id": i, "file_name": f"{i}.jpg", **size} for i in range(1, max(image_ids) + 1)]
    if name == "crowdpose":
        images = [image | {"crowdIndex": 0.5} for image in images]
    categories = [{"id": i, "name": f"kind {i}", "keypoints": names} for i in sorted({*category_ids, 1, 2})]
    return {"images": images, "annotations": people, "categories": categories}


def evaluate(name, content, image_ids, keypoints, **options):
    return benchmarks.evaluate(name, content, image_ids, keypoints, np.linspace(1, 0.5, len(keypoints)), **options)


def shift_for(similarity, sigmas):
    """How far [K] every keypoint is moved so that its similarity is this."""
    return np.sqrt(-2 * 0.53 * np.prod(BOX) * (2 * np.array(sigmas)) ** 2 * np.log(similarity))


@pytest.mark.skipif(not SAMPLES, reason="HRNET_TF_KEYPOINT_SETS_SAMPLES names no folder with samples of keypoint sets")
@pytest.mark.parametrize("name", SETS)
def test_statistics_match_those_of_the_authors(name):
    people = GOLDEN[name]["predictions"]
    keypoints = np.reshape([person["keypoints"] for person in people], (len(people), -1, 3))
    image_ids, scores = ([person[field] for person in people] for field in ("image_id", "score"))
    path = pathlib.Path(SAMPLES) / name / f"test_{name}.json"
    found = benchmarks.evaluate(name, path, image_ids, keypoints, scores)
    wanted = {
        f"{'' if part == 'all' else part} {OURS.get(statistic, statistic)}".strip(): value
        for part, numbers in GOLDEN[name]["stats"].items()
        for statistic, value in numbers.items()
    }
    assert {statistic: found[statistic] for statistic in wanted} == pytest.approx(wanted, abs=1e-4)
    assert {statistic.split()[0] for statistic in set(found) - set(wanted)} <= {"hand"}


@pytest.mark.parametrize("name", SETS)
def test_perfect_predictions_give_one(name):
    keypoints, image_ids = poses(name, 4), [1, 1, 2, 2]
    found = evaluate(name, annotated(name, keypoints, image_ids), image_ids, keypoints)
    statistics = list(STATISTICS)
    if name == "coco_wholebody":
        statistics = [f"{part} {statistic}" for part in PARTS for statistic in STATISTICS]
    elif name == "crowdpose":
        statistics = ["AP", "AP50", "AP75", "AR", "AR50", "AR75", "AP easy", "AP medium", "AP hard"]
    assert list(found) == statistics
    # All areas are of 32² to 96² pixels, all crowd indices 0.5.
    absent = [s for s in statistics if s.endswith(("APl", "ARl", "easy", "hard"))]
    assert found == {s: -1 if s in absent else pytest.approx(1) for s in statistics}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("similarity", "num_passed"), [(0.76, 6), (0.74, 5)])
def test_distances_are_measured_by_the_set_s_tolerances_and_areas(name, similarity, num_passed):
    keypoints = poses(name, 1)
    content = annotated(name, keypoints, [1])
    if name in WITHOUT_AREAS:
        content["annotations"][0]["area"] = 1e-3  # which is not read
    keypoints[..., 1] += shift_for(similarity, named(name).oks_sigmas)
    found = evaluate(name, content, [1], keypoints)
    main = [f"{part} AP" for part in PARTS] if name == "coco_wholebody" else ["AP"]
    assert [found[statistic] for statistic in main] == pytest.approx([num_passed / 10] * len(main))


def test_a_wrong_hand_is_wrong_in_its_part_and_in_the_whole():
    keypoints = poses("coco_wholebody", 2)
    content = annotated("coco_wholebody", keypoints, [1, 2])
    keypoints[:, 91:112, 1] += 1000
    found = evaluate("coco_wholebody", content, [1, 2], keypoints)
    # 112 of 133 keypoints are right: a similarity of 0.842 passes 7 of 10 thresholds.
    wanted = {"whole": 0.7, "body": 1, "foot": 1, "face": 1, "lefthand": 0, "righthand": 1, "hand": 0.5}
    assert {part: found[f"{part} AP"] for part in PARTS} == pytest.approx(wanted)


def test_parts_that_are_not_labelled_or_not_predicted():
    keypoints = poses("coco_wholebody", 3)
    content = annotated("coco_wholebody", keypoints, [1, 2, 3])
    content["annotations"][1]["face_kpts"] = [0] * 204
    keypoints[1, 23:91, 1] += 60  # near the person: neither right nor wrong
    keypoints[0, 17:23, 2] = 0  # these feet are no prediction, and so they are missed
    keypoints[0, 17:23, 0] += 1000
    found = evaluate("coco_wholebody", content, [1, 2, 3], keypoints)
    assert found["face AP"] == pytest.approx(1)
    assert (found["foot AP"], found["foot AR"]) == (pytest.approx(67 / 101), pytest.approx(2 / 3))
    assert found["righthand AP"] == pytest.approx(1)
    content["annotations"] = [person | {"face_kpts": [0] * 204} for person in content["annotations"]]
    assert evaluate("coco_wholebody", content, [1, 2, 3], keypoints)["face AP"] == -1


def test_a_prediction_is_of_the_size_of_its_body():
    """One that fits nobody, with an arm's length between its hands: not large, and so no error among the large."""
    keypoints = poses("coco_wholebody", 2)
    content = annotated("coco_wholebody", keypoints[:1], [1])
    content["annotations"][0]["area"] = 1e4
    keypoints[1, 91:112, :2] += 3000
    scores = [0.5, 1.0]
    found = benchmarks.evaluate("coco_wholebody", content, [1, 1], keypoints, scores)
    assert (found["body AP"], found["body APl"]) == (pytest.approx(0.5), pytest.approx(1))
    assert found["lefthand APl"] == pytest.approx(1)


def test_crowdpose_is_split_by_crowding_and_counts_who_is_visible():
    keypoints, image_ids = poses("crowdpose", 7), [1, 2, 3, 4, 5, 5, 5]
    content = annotated("crowdpose", keypoints, image_ids)
    for image, crowding in zip(content["images"], (0, 0.19, 0.2, 0.79, 0.8), strict=True):
        image["crowdIndex"] = crowding
    # Neither missed nor wrong: who is hidden all over, and who is left out whatever the number.
    content["annotations"][5]["num_keypoints"] = 0
    content["annotations"][6]["bbox"][3] = 0
    keypoints[[1, 3], :, 1] += 1000
    found = evaluate("crowdpose", content, image_ids[:5], keypoints[:5])
    assert found["AP easy"] == found["AP medium"] == pytest.approx(51 / 101)
    assert found["AP hard"] == found["AR"] / 0.6 == pytest.approx(1)
    assert evaluate("crowdpose", content, image_ids[:6], keypoints[:6])["AP hard"] == pytest.approx(1)


def test_animals_are_compared_within_their_species():
    keypoints, image_ids, species = poses("ap10k", 4), [1, 2, 3, 4], [1, 2, 2, 2]
    content = annotated("ap10k", keypoints, image_ids, species)
    assert evaluate("ap10k", content, [1], keypoints[:1])["AP"] == pytest.approx(0.5)
    assert evaluate("ap10k", content, image_ids, keypoints, categories=species)["AR"] == pytest.approx(1)
    confused = evaluate("ap10k", content, image_ids, keypoints, categories=[2, 2, 2, 2])
    assert confused["AR"] == pytest.approx(0.5)
    content["annotations"][3]["image_id"] = 1
    assert evaluate("ap10k", content, [2, 3], keypoints[1:3])["AR"] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match=r"categories must be given.*in image 1: \[1, 2\]"):
        evaluate("ap10k", content, [1], keypoints[:1])


def test_coco_is_as_before():
    """What scores nothing is a prediction in COCO's own evaluation."""
    keypoints = poses("coco", 1)
    content = annotated("coco", keypoints, [1])
    keypoints[..., 2] = 0
    assert evaluate("coco", content, [1], keypoints)["AP"] == pytest.approx(1)
    assert evaluate("ochuman", content, [1], keypoints)["AP"] == 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("posetrack", {}, "one of aic, ap10k, .*Received: 'posetrack'"),
        ("mpii", {}, "mpii has no annotations in COCO's format"),
        ("crowdpose", {"scores": [1.0, 1.0]}, r"scores must have shape \(1,\).*Received: \(2,\)"),
        (
            "crowdpose",
            {"keypoints": poses("coco", 1)},
            r"keypoints must have shape \(1, 14, 3\).*Received: \(1, 17, 3\)",
        ),
        ("crowdpose", {"keypoints": [[[1.0, 2.0, 3.0], [1.0]]]}, "keypoints must be an array of numbers"),
        ("crowdpose", {"keypoints": poses("crowdpose", 1) * np.inf}, "keypoints must be finite.*person 0"),
        ("crowdpose", {"image_ids": [7]}, "image_ids must be in the images of annotation_file.*not: 7"),
        ("crowdpose", {"image_ids": ["1"]}, "image_ids must be in the images of annotation_file.*not: 1"),
        ("crowdpose", {"image_ids": [[1]]}, r"image_ids must have shape \(N,\)"),
        ("ap10k", {"categories": [3]}, "categories must be those of annotation_file. Received: 3"),
        ("ap10k", {"categories": [1, 1]}, r"categories must have shape \(1,\).*Received: \(2,\)"),
        ("crowdpose", {"annotation_file": annotated("ochuman", poses("ochuman", 1), [1])}, "list 14 keypoints.*17"),
        ("coco_wholebody", {"annotation_file": annotated("coco", poses("coco", 1), [1])}, "18 finite.*'foot_kpts'"),
        ("crowdpose", {"annotation_file": annotated("aic", poses("aic", 1), [1])}, "number 'crowdIndex'.*None"),
    ],
)
def test_bad_input_is_refused_in_one_line(name, changes, message):
    known = name if name in SETS else "coco"
    keypoints = poses(known, 1)
    arguments = {"annotation_file": annotated(known, keypoints, [1]), "image_ids": [1], "keypoints": keypoints}
    with pytest.raises(InputError, match=message) as error:
        benchmarks.evaluate(name, **(arguments | {"scores": [1.0]} | changes))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) <= 500


def write(folder, name):
    """A benchmark's folder as its authors ship it, with two images of two people; returns them and the split."""
    split, path, images = PLACES[name]
    keypoints, image_ids = poses(name, 4), [1, 1, 2, 2]
    content = annotated(name, keypoints, image_ids)
    for place in (folder / path).parent, folder / images:
        place.mkdir(parents=True)
    for image in content["images"]:
        cv2.imwrite(str(folder / images / image["file_name"]), np.zeros((300, 900, 3), np.uint8))
    (folder / path).write_text(json.dumps(content))
    return keypoints, split


@pytest.mark.parametrize("name", SETS)
def test_folders_are_read_as_authors_ship_them(name, tmp_path):
    keypoints, split = write(tmp_path, name)
    benchmark = open_benchmark(name, str(tmp_path))
    annotated_people, people = load_people(benchmark, split)
    assert people.skeleton == named(name)
    np.testing.assert_array_equal(people.keypoints, keypoints[..., :2])
    assert people.visible.all()
    benchmark.check_measurable(split, annotated_people)
    twice = people.take([0, 0, 1, 2, 3])
    found = benchmark.evaluate(split, keypoints[[0, 0, 1, 2, 3]], twice, (64, 64))
    assert found[benchmark.main_metric] == pytest.approx(1)
    report = check_content(json.loads((tmp_path / PLACES[name][1]).read_text()), "people.json", form=benchmark.form)
    codes = {finding.code for finding in report.findings}
    assert not codes & {"area_missing", "keypoints_count", "keypoints_malformed", "sigmas_missing", "visibility_values"}


def test_whole_bodies_are_trained_on(tmp_path):
    _, split = write(tmp_path, "coco_wholebody")
    people = open_benchmark("coco_wholebody", str(tmp_path)).load_split(split)
    batches = training_dataset(people, (64, 64), 4, 2.0, Augmentation(0, 0, 0, 0), 0, 0, 1)
    images, heatmaps, weights = next(iter(batches))
    assert (images.shape, heatmaps.shape) == ((4, 64, 64, 3), (4, 16, 16, 133))
    assert (np.max(heatmaps, axis=(1, 2)) == 1).all()
    assert (np.reshape(weights, (4, 133)) == 1).all()


def test_a_damaged_part_is_found_and_named(tmp_path):
    content = annotated("coco_wholebody", poses("coco_wholebody", 20), [1] * 20)
    content["annotations"][3]["face_kpts"] = [1, 2, 2]
    del content["annotations"][4]["foot_kpts"]
    form = coco_like("coco_wholebody").form
    report = check_content(content, "people.json", form=form)
    counts = {finding.code: finding.count for finding in report.findings}
    assert (counts["keypoints_count"], counts["keypoints_malformed"]) == (1, 1)
    assert "left out: 2 of 20 people with malformed keypoints (annotation 3)" in report.omissions


@pytest.mark.parametrize("name", ["ap10k", "coco_wholebody", "crowdpose", "halpe"])
def test_damaged_files_are_measured_or_refused_in_one_line(name, tmp_path):
    keypoints = poses(name, 3)
    content = annotated(name, keypoints, [1, 2, 3])
    measured = refused = 0
    for seed in range(60):
        (tmp_path / "people.json").write_bytes(damaged(content, seed))
        found = outcome(evaluate, name, tmp_path / "people.json", [1, 2, 3], keypoints, named="")
        measured, refused = measured + (found is not None), refused + (found is None)
        assert found is None or all(-1 <= number <= 1 for number in found.values()), seed
    assert min(measured, refused) > 5
    content["categories"][0]["keypoints"] = 5
    assert outcome(evaluate, name, content, [1, 2, 3], keypoints, named="") is not None


def test_published_results_are_those_of_the_split_and_the_boxes():
    wholebody = open_benchmark("coco_wholebody", "data")
    figures = wholebody.published("val2017", "hrnet_w48", (384, 288), True)
    assert (figures["whole AP"], figures["hand AR"]) == (0.632, 0.678)
    assert wholebody.published("val2017", "hrnet_w48", (384, 288), False) == {}
    assert wholebody.published("train2017", "hrnet_w48", (384, 288), True) == {}
    assert open_benchmark("crowdpose", "data").published("test", "hrnet_w32", (256, 192), True)["AP hard"] == 0.553
    for name in SETS:
        figures = coco_like(name).figures
        assert {len(values) for values in figures.thousandths.values()} == {len(figures.statistics)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco_wholebody", "crowdpose"])
def test_commands_take_other_benchmarks(name, tmp_path):
    _, split = write(tmp_path / "data", name)
    inputs = keras.Input((64, 64, 3))
    outputs = keras.layers.Conv2D(named(name).num_keypoints, 5, strides=4, padding="same")(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "small.keras")
    data = {"dataset": name, "data_dir": tmp_path / "data"}
    checked = tool_runs.run("check_dataset", **data, split=split)
    assert f"4 to train on, {named(name).num_keypoints} keypoints" in checked.stdout, checked.stderr
    metrics = tmp_path / "metrics.json"
    result = tool_runs.run("evaluate", model=tmp_path / "small.keras", **data, val_split=split, metrics=metrics)
    assert result.returncode == 0, result.stderr
    assert benchmark_class(name).main_metric in json.loads(metrics.read_text())
