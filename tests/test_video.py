"""Videos as people have them, read and copied: turned, uneven, of several sizes, damaged, with sound."""

import warnings

import av
import cv2
import numpy as np
import pytest
from videos import corners_of, number_of, picture, read_clip, read_sound, sound_packets, write_clip

from hrnet_tf.errors import InputError
from hrnet_tf.prediction.video import Clock, is_video, open_video
from hrnet_tf.prediction.video_writer import video_writer

UNEVEN = [0, 0.034, 0.068, 0.109, 0.112, 0.119, 0.687, 0.846]


def copied(path, to):
    """Copies a video; its `Video`, frames and the lines that were warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_video(path) as video, video_writer(to, video) as write:
            frames = []
            for frame in video:
                frames.append(frame)
                write(*frame)
    return video, frames, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("suffix", ["mp4", "webm", "avi", "mkv", "ts", "mpg"])
def test_a_copy_has_the_frames_and_times_of_the_original(tmp_path, suffix):
    codec = {"webm": "libvpx", "avi": "msmpeg4", "mpg": "mpeg2video"}.get(suffix, "libx264")
    clip = tmp_path / f"clip.{suffix}"
    if suffix == "mpg":
        write_clip(clip, codec, times=[i / 25 for i in range(12)], rate=25)
    else:
        write_clip(clip, codec)
    assert is_video(clip)
    video, frames, said = copied(clip, tmp_path / "copy.mp4")
    step = 0.04 if suffix == "mpg" else 0.1
    images, times, length = read_clip(tmp_path / "copy.mp4")
    expected = [i * step for i in range(12)]
    assert said == [] and video.announced in (0, 12)
    assert [number_of(frame.image) for frame in frames] == [number_of(image) for image in images] == [*range(12)]
    assert [frame.time for frame in frames] == pytest.approx(expected, abs=1e-3)
    assert times == pytest.approx(expected, abs=1e-3) and length == pytest.approx(12 * step, abs=1e-3)


def test_frames_keep_uneven_times(tmp_path):
    for name, codec, rate in [
        ("browser.webm", "libvpx", None),
        ("1000.webm", "libvpx", 1000),
        ("a.mp4", "libx264", 10),
    ]:
        clip = write_clip(tmp_path / name, codec, times=UNEVEN, rate=rate)
        video, frames, said = copied(clip, tmp_path / "copy.mp4")
        images, times, length = read_clip(tmp_path / "copy.mp4")
        assert said == [] and [number_of(image) for image in images] == [*range(8)]
        assert [frame.time for frame in frames] == pytest.approx(UNEVEN, abs=1e-3)
        assert times == pytest.approx(UNEVEN, abs=1e-3)
        assert length == pytest.approx(video.end, abs=1e-3) and video.end > UNEVEN[-1]
    with open_video(tmp_path / "browser.webm") as video:
        list(video)
    assert video.end == pytest.approx(UNEVEN[-1] * 8 / 7, abs=2e-3)  # the last frame takes the mean time


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_are_turned_as_the_display_matrix_says(tmp_path, degrees):
    clip = write_clip(tmp_path / "clip.mp4", turned=(degrees,), count=3)
    _, frames, said = copied(clip, tmp_path / "copy.mp4")
    order = np.rot90([[0, 1], [2, 3]], degrees // 90).ravel().tolist()  # anticlockwise
    size = (64, 96, 3) if degrees == 180 else (96, 64, 3)
    stored = read_clip(clip)[0]
    capture = cv2.VideoCapture(str(clip))  # another reader that turns
    images, times, _ = read_clip(tmp_path / "copy.mp4")
    assert said == [] and times == pytest.approx([0, 0.1, 0.2], abs=1e-3)
    for i, (frame, image) in enumerate(zip(frames, images, strict=True)):
        assert frame.image.shape == image.shape == size and frame.image.flags.c_contiguous
        assert corners_of(frame.image) == corners_of(image) == order and number_of(image) == i
        np.testing.assert_array_equal(frame.image, np.rot90(stored[i], degrees // 90))
        assert corners_of(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)) == order


@pytest.mark.parametrize(
    ("degrees", "flips", "order"),
    [(0, (True, False), [1, 0, 3, 2]), (0, (False, True), [2, 3, 0, 1]), (90, (True, False), [3, 1, 2, 0])],
)
def test_frames_are_mirrored_as_the_display_matrix_says(tmp_path, degrees, flips, order):
    clip = write_clip(tmp_path / "clip.mov", turned=(degrees, *flips), count=2)
    _, frames, _ = copied(clip, tmp_path / "copy.mp4")
    copy = read_clip(tmp_path / "copy.mp4")[0][1]
    assert corners_of(frames[1].image) == corners_of(copy) == order  # as Chromium shows these clips


def test_frames_of_another_size_are_fitted_into_the_first_ones(tmp_path):
    """Two transport streams in a row, as recorders make them: size and clock begin anew."""
    parts = [write_clip(tmp_path / "1.ts", sound="aac"), write_clip(tmp_path / "2.ts", size=(64, 96), sound="aac")]
    (tmp_path / "clip.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    _, frames, said = copied(tmp_path / "clip.ts", tmp_path / "copy.mp4")
    assert said == [] and [frame.image.shape[:2] for frame in frames] == [(64, 96)] * 12 + [(96, 64)] * 12
    images, times, length = read_clip(tmp_path / "copy.mp4")
    assert [number_of(image) for image in images] == [*range(12)] * 2
    assert times == pytest.approx([i / 10 for i in range(24)], abs=1e-3) and length == pytest.approx(2.4, abs=1e-3)
    narrow = images[20]
    assert narrow.shape == (64, 96, 3) and narrow[:, :25].max() < 10 and narrow[:, -25:].max() < 10
    assert corners_of(narrow[:, 27:-27]) == [0, 1, 2, 3]
    _, samples, rate, _ = read_sound(tmp_path / "copy.mp4")
    assert len(samples) / rate == pytest.approx(2.4, abs=0.1)


def test_odd_sides_grow_by_a_pixel(tmp_path):
    with video_writer(tmp_path / "odd.mp4") as write:
        for i in range(3):
            write(picture(i, (95, 63)), i / 10)
    images, times, length = read_clip(tmp_path / "odd.mp4")
    assert images[0].shape == (64, 96, 3) and corners_of(images[2]) == [0, 1, 2, 3]
    assert times == pytest.approx([0, 0.1, 0.2], abs=1e-3) and length == pytest.approx(0.3, abs=1e-3)


def test_colours_stay_as_they_are(tmp_path):
    """Of the greatest differences between the two ways of coding colours, too, which players tell apart by a tag."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]
    with video_writer(tmp_path / "colours.mp4") as write:
        for i, colour in enumerate(colours):
            write(np.full((64, 96, 3), colour, np.uint8), i / 10)
    with open_video(tmp_path / "colours.mp4") as video:
        found = [frame.image.mean(axis=(0, 1)) for frame in video]
    np.testing.assert_allclose(found, colours, atol=4)  # 8 bits of brightness and colour each
    capture = cv2.VideoCapture(str(tmp_path / "colours.mp4"))
    other = [capture.read()[1].mean(axis=(0, 1))[::-1] for _ in colours]
    np.testing.assert_allclose(other, colours, atol=4)


def test_copies_are_what_browsers_play(tmp_path):
    copied(write_clip(tmp_path / "clip.mkv", "libvpx-vp9", sound="ac3"), tmp_path / "copy.mp4")
    data = (tmp_path / "copy.mp4").read_bytes()
    assert data[4:8] == b"ftyp" and 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"avc1" in data and b"mp4a" in data and b"ac-3" not in data
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


@pytest.mark.parametrize("late", [0, 0.25, -0.35])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.webm", "libopus"), ("a.ts", "aac")]
)
def test_sound_that_browsers_play_is_copied_as_it_is(tmp_path, name, codec, late):
    """What sounds before the first frame goes, but for what decoders start up with."""
    options = {"times": [i / 10 - min(late, 0) for i in range(12)], "sound": codec, "sound_at": max(late, 0)}
    clip = write_clip(tmp_path / name, "libvpx" if "webm" in name else "libx264", **options)
    video, _, said = copied(clip, tmp_path / "copy.mp4")
    original, copy = sound_packets(clip), sound_packets(tmp_path / "copy.mp4")
    bare = 7 if name == "a.ts" else 0  # each packet of a transport stream has a header of its own
    expected = [(time - video.start, data[bare:]) for time, data in original if time - video.start >= -0.1]
    assert said == [] and [data for _, data in copy] == [data for _, data in expected]
    assert [time for time, _ in copy] == pytest.approx([time for time, _ in expected], abs=1e-3)
    for path in (clip, tmp_path / "copy.mp4"):
        _, samples, rate, _ = read_sound(path)
        assert tone_of(samples[rate // 5 :], rate) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "pcm_s16le"), ("a.mkv", "ac3"), ("a.mpg", "mp2")])
def test_other_sound_is_coded_as_aac(tmp_path, name, codec):
    video_codec = {"a.avi": "msmpeg4", "a.mpg": "mpeg2video"}.get(name, "libx264")
    rate = 25 if name == "a.mpg" else 10
    clip = write_clip(tmp_path / name, video_codec, [i / rate for i in range(12)], sound=codec, rate=rate)
    _, _, said = copied(clip, tmp_path / "copy.mp4")
    kind, samples, rate, start = read_sound(tmp_path / "copy.mp4")
    _, expected, _, _ = read_sound(clip)
    assert said == [] and kind == "aac" and rate == 48000 and start == pytest.approx(0, abs=0.03)
    assert len(samples) == pytest.approx(len(expected), abs=4800)
    assert tone_of(samples[rate // 5 :], rate) == pytest.approx(440, abs=2)


def tone_of(samples, rate):
    """The loudest frequency of a sound, in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return spectrum.argmax() * rate / (1 << 18)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm", "clip.avi", "clip.ts"])
def test_what_is_left_of_a_truncated_video_is_read(tmp_path, name, share):
    codec = {"clip.webm": "libvpx", "clip.avi": "msmpeg4"}.get(name, "libx264")
    clip = write_clip(tmp_path / name, codec, count=15, movflags="faststart" if name == "clip.mp4" else "")
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * share)])
    video, frames, said = copied(clip, tmp_path / "copy.mp4")
    _, times, length = read_clip(tmp_path / "copy.mp4")
    assert 1 <= len(frames) < 15 and len(times) == len(frames) and length == pytest.approx(video.end, abs=1e-3)
    assert [number_of(frame.image) for frame in frames[:-1]] == [*range(len(frames) - 1)]
    assert len(said) <= 1
    if name != "clip.ts":  # a transport stream announces nothing
        assert f"{len(frames)} " in said[0] and "frames could be read" in said[0] and "breaks off" in said[0]


def test_damage_in_the_middle_is_said_and_gone_past(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", count=15, movflags="faststart")
    data = bytearray(clip.read_bytes())
    for place in np.random.default_rng(0).integers(len(data) // 2, len(data), 30):
        data[place] ^= 0xFF
    clip.write_bytes(data)
    _, frames, (said,) = copied(clip, tmp_path / "copy.mp4")
    assert frames[-1].time == pytest.approx(1.4)
    assert "damaged among these frames: " in said or "packets that could not be decoded: " in said


def test_files_without_pictures_are_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.int16), "s16", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_clip(tmp_path / "late.mp4")  # its index is at the end
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "late.mp4").read_bytes()[:1500])
    (tmp_path / "empty.mp4").write_bytes(b"")
    refusals = {
        "sound": "it has sound alone",
        "cut": r"truncated or not a video \(1500 bytes\)",
        "empty": "it is empty",
    }
    for name, why in refusals.items():
        with (
            pytest.raises(InputError, match=rf"cannot decode video .*{name}.mp4: {why}"),
            open_video(tmp_path / f"{name}.mp4"),
        ):
            pass


def test_names_are_no_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "12:30.mp4", count=2, sound="aac")
    assert len(copied("12:30.mp4", "12:31.mp4")[1]) == 2 and sound_packets(tmp_path / "12:31.mp4")


def test_a_clock_makes_times_increase():
    clock = Clock(0.04)
    assert [clock(time) for time in (None, None, None)] == pytest.approx([0, 0.04, 0.08])  # says nothing: a steady rate
    clock = Clock(0.04)
    given = [0, 0.1, 0.2, 0.19, 0.3, None, 0.5, -7, -6.9]  # out of order; unknown; begins anew
    assert [clock(time) for time in given] == pytest.approx(
        [0, 0.1, 0.2, 0.2001, 0.3, 0.375, 0.5, 0.5833, 0.6833], abs=1e-3
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_copy_that_ends_early_leaves_no_file(tmp_path, error):
    with pytest.raises(error), video_writer(tmp_path / "copy.mp4") as write:
        for i in range(30):
            write(picture(i % 12), i / 10)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_copies_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    with (
        pytest.raises(InputError, match=r"cannot write video .*nowhere"),
        video_writer(tmp_path / "nowhere/a.mp4") as write,
    ):
        write(picture(0), 0.0)
    monkeypatch.setattr("hrnet_tf.prediction.video_writer._ENCODER", "libnone")
    with (
        pytest.raises(InputError, match=r"cannot write H.264, as it lacks libnone"),
        video_writer(tmp_path / "a.mp4") as write,
    ):
        write(picture(0), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_what_ffmpeg_does_not_know_is_said(tmp_path):
    data = write_clip(tmp_path / "clip.mkv", sound="ac3").read_bytes()
    (tmp_path / "sound.mkv").write_bytes(data.replace(b"A_AC3", b"A_XYZ"))
    _, frames, (said,) = copied(tmp_path / "sound.mkv", tmp_path / "copy.mp4")
    assert len(frames) == len(read_clip(tmp_path / "copy.mp4")[0]) == 12
    assert said.endswith("sound.mkv: its sound is left out of the copy: FFmpeg does not know how it is coded")
    (tmp_path / "video.mkv").write_bytes(data.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/AVC"))
    with pytest.raises(InputError, match="how its pictures are coded"), open_video(tmp_path / "video.mkv"):
        pass


def test_sound_whose_kind_changes_is_kept(tmp_path):
    """As broadcasts do between programmes; the tone goes on."""
    parts = [
        write_clip(tmp_path / f"{i}.ts", sound=codec, layout=kind)
        for i, (codec, kind) in enumerate([("ac3", "mono"), ("ac3", "stereo")])
    ]
    (tmp_path / "clip.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    _, _, said = copied(tmp_path / "clip.ts", tmp_path / "copy.mp4")
    _, samples, rate, _ = read_sound(tmp_path / "copy.mp4")
    assert said == [] and len(samples) / rate == pytest.approx(2.4, abs=0.15)
    assert tone_of(samples[rate * 8 // 5 :], rate) == pytest.approx(440, abs=2)
