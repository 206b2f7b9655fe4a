"""The published keypoint sets: what annotation files of theirs say, and what belongs together in each."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from tool_runs import ROOT, complaint, run

from hrnet_tf import InputError, doctor, skeletons
from hrnet_tf.data.annotations import make_table
from hrnet_tf.sides import pairs_by_name
from hrnet_tf.skeletons.sets import facts

# Outputs of the published networks of each set.
NUM_KEYPOINTS = {
    **{"coco": 17, "humanart": 17, "ochuman": 17, "posetrack18": 17, "h36m": 17, "macaque": 17, "ap10k": 17},
    **{"mpii": 16, "mhp": 16, "mpii_trb": 40, "jhmdb": 15, "aic": 14, "crowdpose": 14, "exlpose": 14},
    **{"coco_wholebody": 133, "halpe": 136, "halpe26": 26, "openpose18": 18, "openpose25": 25, "openpose": 25},
    **{"coco_wholebody_face": 68, "300w": 68, "300wlp": 68, "wflw": 98, "cofw": 29, "aflw": 19},
    **{"coco_wholebody_hand": 21, "hand21": 21, "rhd": 21, "interhand2d": 21},
    **{"animalpose": 20, "animalkingdom": 23, "horse10": 22, "atrw": 15, "zebra": 9, "locust": 35, "fly": 32},
    **{"deepfashion_upper": 6, "deepfashion_lower": 4, "deepfashion_full": 8, "deepfashion2": 294},
}
GOLDEN = json.loads((ROOT / "tests" / "golden" / "keypoint_sets.json").read_text())

every_set = pytest.mark.parametrize("name", skeletons.NAMES)


def unordered(pairs):
    return {frozenset(pair) for pair in pairs}


def one_person(keypoints, count):
    """Annotations of one person whose category lists `keypoints`, `count` of them labelled."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [10, 10, 2] * count, "bbox": [0, 0, 20, 20]}
    image = {"id": 1, "file_name": "1.jpg", "width": 40, "height": 40}
    return {
        "images": [image],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "x", "keypoints": keypoints}],
    }


def test_the_sets_are_those_of_the_published_networks():
    assert {name: skeletons.named(name).num_keypoints for name in skeletons.NAMES} == NUM_KEYPOINTS


@every_set
def test_what_a_set_is_made_of_fits(name):
    skeleton = skeletons.named(name)
    everyone = set(range(skeleton.num_keypoints))
    assert len(set(skeleton.names)) == len(skeleton.names) == len(skeleton.oks_sigmas)
    assert {i for pair in skeleton.flip_pairs + skeleton.limbs for i in pair} <= everyone
    assert len(unordered(skeleton.limbs)) == len(skeleton.limbs) and all(a != b for a, b in skeleton.limbs)
    assert all(0.005 < sigma < 0.2 for sigma in skeleton.oks_sigmas)
    assert set(skeleton.upper_body) <= everyone and skeleton.upper_body
    assert facts(name)["source"].startswith("http") and facts(name)["title"]
    assert facts(name).get("of_people", False) == ("people" in facts(name)["title"] or name == "openpose")
    # What names tell of sides is true of all sets; the data adds to it what no name tells.
    by_name, unpaired = pairs_by_name(skeleton.names)
    assert not unpaired and skeleton.flip_pairs[: len(by_name)] == by_name
    # What is above the waist on the left is so on the right.
    upper = {skeletons.flip_order(skeleton.flip_pairs, skeleton.num_keypoints)[i] for i in skeleton.upper_body}
    assert upper == set(skeleton.upper_body)


@every_set
def test_mirrored_limbs_are_limbs(name):
    skeleton = skeletons.named(name)
    order = skeletons.flip_order(skeleton.flip_pairs, skeleton.num_keypoints)
    assert unordered((order[a], order[b]) for a, b in skeleton.limbs) == unordered(skeleton.limbs)


def test_one_keypoint_has_one_tolerance_whatever_the_order():
    by_names = {}
    for name in skeletons.NAMES:
        skeleton = skeletons.named(name)
        of_names = dict(zip(skeleton.names, skeleton.oks_sigmas, strict=True))
        assert by_names.setdefault(frozenset(skeleton.names), of_names) == of_names
    # Published as equal on both sides but for these, which are measured, or (the ears of animalpose) a slip.
    uneven = set()
    for name in skeletons.NAMES:
        sigmas = skeletons.named(name).oks_sigmas
        if any(sigmas[a] != sigmas[b] for a, b in skeletons.named(name).flip_pairs):
            uneven.add(name)
    assert uneven == {"aic", "animalpose", "atrw", "coco_wholebody", "coco_wholebody_face", "300w", "300wlp"}


@pytest.mark.parametrize("name", GOLDEN)
def test_names_and_tolerances_are_those_of_the_authors_files(name):
    skeleton, golden = skeletons.named(name), GOLDEN[name]
    assert list(skeleton.names) == golden.get("keypoints", list(skeleton.names))
    assert list(skeleton.oks_sigmas) == golden.get("sigmas", list(skeleton.oks_sigmas))


@pytest.mark.parametrize("name", ["crowdpose", "coco_wholebody", "interhand2d", "AP-10K", "coco133", "1"])
def test_a_set_that_there_is_not_names_the_nearest(name):
    if name in skeletons.NAMES:
        assert skeletons.named(name) is skeletons.named(name)
        return
    nearest = {"AP-10K": "ap10k", "coco133": "coco", "1": "300w"}[name]
    with pytest.raises(InputError, match=rf"no keypoint set is called '{name}'.*\b{nearest}\b"):
        skeletons.named(name)


@every_set
def test_annotations_with_a_sets_names_have_its_pairs_limbs_and_tolerances(name):
    published = skeletons.named(name)
    assert skeletons.skeleton_from_category({"id": 1, "keypoints": list(published.names)}) == published
    backwards = skeletons.skeleton_from_category({"id": 1, "keypoints": list(published.names[::-1])})
    last = published.num_keypoints - 1
    assert backwards.oks_sigmas == published.oks_sigmas[::-1]
    assert unordered(backwards.flip_pairs) == unordered((last - a, last - b) for a, b in published.flip_pairs)
    assert unordered(backwards.limbs) == unordered((last - a, last - b) for a, b in published.limbs)
    assert set(backwards.upper_body) == {last - i for i in published.upper_body}


def test_what_a_category_says_itself_is_taken():
    names = list(skeletons.named("crowdpose").names)
    category = {"id": 1, "keypoints": names, "skeleton": [[1, 2]], "sigmas": [0.05] * 14, "flip_pairs": []}
    own = skeletons.skeleton_from_category(category)
    assert own.limbs == ((0, 1),) and set(own.oks_sigmas) == {0.05} and own.flip_pairs == ()
    # One name more, and it is a set of its own.
    other = skeletons.skeleton_from_category({"id": 1, "keypoints": [*names, "tail"]})
    assert set(other.oks_sigmas) == {skeletons.DEFAULT_OKS_SIGMA} and other.limbs == ()


def test_limbs_of_another_set_are_replaced_and_that_is_said(tmp_path):
    """CrowdPose's own files have the limbs of COCO, with numbers to 17."""
    crowdpose = skeletons.named("crowdpose")
    content = one_person(list(crowdpose.names), 14)
    content["categories"][0]["skeleton"] = [[16, 14], [14, 12]]
    table = make_table(content, "crowdpose.json")
    assert table.skeleton == crowdpose
    assert [line for line in table.sentences if "limbs" in line] == [
        "left out: 1 of 2 limbs that are no pairs of numbers from 1 to 14: drawn are those of crowdpose instead of all "
        "([16, 14])"
    ]


def test_the_pairs_of_keypoints_without_names_are_those_of_the_set_that_is_said(tmp_path):
    path = tmp_path / "faces.json"
    path.write_text(json.dumps(one_person([], 98)))
    flags = {"annotations": path, "images": tmp_path, "check_images": "false"}
    assert "no_sides" in run("check_dataset", **flags).stdout
    result = run("check_dataset", **flags, flip_pairs="wflw")
    assert "no_sides" not in result.stdout and "mirrored pairs: 32/0, 31/1, 30/2" in result.stdout
    assert "--flip_pairs=300w are of 68 keypoints" in complaint(run("check_dataset", **flags, flip_pairs="300w"))


def test_sets_without_sides_are_no_finding():
    hand = one_person(list(skeletons.named("hand21").names), 21)
    codes = {finding.code for finding in doctor.check_content(hand, "hands.json").findings}
    assert codes and not {"no_sides", "sigmas_missing"} & codes


def test_renamed_to_a_sets_names_has_its_tolerances():
    hand = skeletons.named("hand21")
    other = dataclasses.replace(hand, names=tuple(f"h{i}" for i in range(21)), oks_sigmas=(0.062,) * 21)
    assert other.renamed(dict(zip(other.names, hand.names, strict=True))).oks_sigmas == hand.oks_sigmas


def test_sets_need_no_tensorflow():
    code = "import sys, hrnet_tf; hrnet_tf.skeletons.named('halpe'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_documentation_lists_all_sets():
    page = (ROOT / "docs" / "keypoint_sets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)
    listed = [(name, int(count), title) for name, count, title in rows]
    assert sorted(listed) == [(n, skeletons.named(n).num_keypoints, facts(n)["title"]) for n in skeletons.NAMES]
