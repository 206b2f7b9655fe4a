"""Pictures of keypoints and heatmaps, and writing them to files. Images are [H, W, 3] uint8 RGB."""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.skeletons import Skeleton

# RGB; apart in hue and lightness, so that colour-blind readers can tell the sides of the body.
LEFT_COLOR = (255, 149, 0)
RIGHT_COLOR = (48, 176, 255)
CENTER_COLOR = (110, 235, 110)
OUTLINE_COLOR = (20, 20, 20)
BOX_COLOR = (250, 250, 250)

# Limb width as a fraction of the person's extent, and its bounds in pixels.
LIMB_WIDTH = 0.014
MIN_LIMB_WIDTH, MAX_LIMB_WIDTH = 1, 12
# Where keypoints crowd together, as in faces and hands, they are drawn so many times smaller than the distance to the
# one that is so many away. Bodies alone are never that dense.
CROWD, ROOM = 8, 12

# Width of the lines of boxes as a fraction of the image's longer side.
BOX_WIDTH = 0.0015

# cv2 draws at 1/16 of a pixel when coordinates are integers shifted by 4 bits.
SUBPIXEL_BITS = 4
# Keeps shifted coordinates of absurd predictions within int32.
MAX_COORDINATE = 1e6

SHEET_COLOR = (250, 250, 250)
CELL_COLOR = (228, 228, 228)
CAPTION_COLOR = (40, 40, 40)
CAPTION_FONT = cv2.FONT_HERSHEY_SIMPLEX
CAPTION_SCALE = 0.45
CAPTION_HEIGHT = 22


def draw_keypoints(
    image: np.ndarray, keypoints: ArrayLike, skeleton: Skeleton, score_threshold: float = 0.2
) -> np.ndarray:
    """Draws people's limbs and keypoints over an image: left orange, right blue, centre green.

    Sides are the person's own. Lines are as wide as suits the person's extent in the image, and finer where keypoints
    crowd together, as those of faces and hands.

    Args:
        image: [H, W, 3] uint8 RGB.
        keypoints: [N, K, 3] x, y in pixels of the image, score (or COCO's visibility), or [N, K, 2].
        skeleton: `skeletons.Skeleton` of the K keypoints.
        score_threshold: keypoints scored at or below it are left out, with their limbs.

    Returns:
        A new image, [H, W, 3] uint8.

    Raises:
        InputError: the image or the keypoints have another shape or type.
    """
    _check_image(image, "image")
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != 3 or keypoints.shape[1] != skeleton.num_keypoints or keypoints.shape[2] not in (2, 3):
        raise InputError(
            f"keypoints must have shape [N, {skeleton.num_keypoints}, 2 or 3]. Received: {keypoints.shape}"
        )
    drawn = np.isfinite(keypoints).all(axis=-1)
    if keypoints.shape[2] == 3:
        drawn &= keypoints[..., 2] > score_threshold
    canvas = image.copy()
    for points, shown in zip(keypoints[..., :2], drawn, strict=True):
        _draw_person(canvas, points, shown, skeleton)
    return canvas


def draw_boxes(image: np.ndarray, boxes_xywh: ArrayLike) -> np.ndarray:
    """Draws the outlines of boxes over an image, in white within dark.

    Args:
        image: [H, W, 3] uint8 RGB.
        boxes_xywh: [N, 4] in pixels of the image.

    Returns:
        A new image, [H, W, 3] uint8.

    Raises:
        InputError: the image or the boxes have another shape or type.
    """
    _check_image(image, "image")
    boxes = np.asarray(boxes_xywh, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise InputError(f"boxes_xywh must have shape [N, 4]. Received: {boxes.shape}")
    canvas = image.copy()
    width = max(1, round(BOX_WIDTH * max(image.shape[:2])))
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    fixed = np.round(corners.clip(-MAX_COORDINATE, MAX_COORDINATE) * 2**SUBPIXEL_BITS).astype(int).tolist()
    for color, thickness in ((OUTLINE_COLOR, width + 2), (BOX_COLOR, width)):
        for start, end in fixed:
            cv2.rectangle(canvas, start, end, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def draw_heatmaps(image: np.ndarray, heatmaps: ArrayLike) -> np.ndarray:
    """Lays the maximum over keypoints of one person's heatmaps over the image they were computed from.

    Colours are absolute: dark blue is 0 and dark red 1, the peak of a training target.

    Args:
        image: [H, W, 3] uint8 RGB, the network's input crop.
        heatmaps: [h, w, K] float.

    Returns:
        A new image, [H, W, 3] uint8.

    Raises:
        InputError: the image or the heatmaps have another shape or type.
    """
    _check_image(image, "image")
    heatmaps = np.asarray(heatmaps, np.float32)
    if heatmaps.ndim != 3 or 0 in heatmaps.shape:
        raise InputError(f"heatmaps must have shape [h, w, K]. Received: {heatmaps.shape}")
    height, width = image.shape[:2]
    # Heatmap pixel i lies at i · H/h of the image. cv2.resize would put it half a pixel further.
    enlarge = np.array([[width / heatmaps.shape[1], 0, 0], [0, height / heatmaps.shape[0], 0]])
    heat = cv2.warpAffine(heatmaps.max(axis=-1), enlarge, (width, height), borderMode=cv2.BORDER_REPLICATE)
    heat = heat.clip(0, 1)
    colors = cv2.cvtColor(cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    opacity = 0.35 + 0.4 * heat[..., None]
    return ((1 - opacity) * image + opacity * colors + 0.5).astype(np.uint8)


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int,
    cell_size: tuple[int, int],
    titles: Sequence[str] | None = None,
    margin: int = 8,
) -> np.ndarray:
    """Arranges images in a grid, each shrunk or enlarged to fit its cell, in reading order.

    Args:
        images: list of [H, W, 3] uint8 RGB, of any sizes.
        columns: cells in a row.
        cell_size: (height, width) of a cell in pixels, without its caption.
        titles: captions, one for each image, cut to the width of the cell; none by default.
        margin: pixels between cells and around them.

    Returns:
        [H, W, 3] uint8.

    Raises:
        InputError: there is no image, one has another shape or type, titles are not one for each,
            or `columns` is not positive.
    """
    if not len(images):
        raise InputError("images must hold at least one image. Received: none")
    if columns < 1:
        raise InputError(f"columns must be at least 1. Received: {columns}")
    if titles is not None and len(titles) != len(images):
        raise InputError(f"titles must be one for each of {len(images)} images. Received: {len(titles)}")
    height, width = cell_size
    step_y = height + margin + (CAPTION_HEIGHT if titles is not None else 0)
    step_x = width + margin
    rows = -(-len(images) // columns)
    sheet = np.full((rows * step_y + margin, columns * step_x + margin, 3), SHEET_COLOR, np.uint8)
    for i, image in enumerate(images):
        _check_image(image, f"images[{i}]")
        y, x = margin + i // columns * step_y, margin + i % columns * step_x
        sheet[y : y + height, x : x + width] = _letterbox(image, cell_size)
        if titles is not None:
            _write_caption(sheet[y + height : y + height + CAPTION_HEIGHT, x : x + width], str(titles[i]))
    return sheet


def write_image(path: PathLike, image: np.ndarray) -> None:
    """Writes an image in the format of the path's suffix; a file of that name is always whole.

    Args:
        path: for example `people.png` or `people.jpg`, in a folder that exists.
        image: [H, W, 3] uint8 RGB.

    Raises:
        InputError: the file cannot be written, as where the folder is missing, the suffix is no image
            format, or one that does not take color or so many pixels, or the image has another shape or type.
    """
    _check_image(image, "image")
    path = pathlib.Path(path)
    try:
        is_encoded, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise InputError(f"path must end in an image format such as .png or .jpg. Received: {path}") from error
    if not is_encoded:
        height, width = image.shape[:2]
        raise InputError(
            f"an image of {width} x {height} pixels in color cannot be written as {path.suffix}, but as .png. "
            f"Received: {path}"
        )
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


def _draw_person(canvas, points, shown, skeleton):
    """Draws one person in place: outlines first, so that no outline cuts a limb in two."""
    if not shown.any():
        return
    widths = _widths(points, shown)
    placed = np.where(shown[:, None], points, 0).clip(-MAX_COORDINATE, MAX_COORDINATE)
    fixed = np.round(placed * 2**SUBPIXEL_BITS).astype(int).tolist()
    # A limb is as wide as its wider end: an arm does not get thin towards the hand.
    limbs = [(a, b, max(widths[a], widths[b])) for a, b in skeleton.limbs if shown[a] and shown[b]]
    sides = _sides(skeleton)
    for a, b, width in limbs:
        if _outline(width):
            whole = round(width) + 2 * _outline(width)
            cv2.line(canvas, fixed[a], fixed[b], OUTLINE_COLOR, whole, cv2.LINE_AA, SUBPIXEL_BITS)
    for a, b, width in limbs:
        color = sides[a] if sides[a] == sides[b] else CENTER_COLOR
        cv2.line(canvas, fixed[a], fixed[b], color, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
    for k in np.flatnonzero(shown):
        radius = round((0.5 + 0.9 * widths[k]) * 2**SUBPIXEL_BITS)
        ring = radius + round(0.75 * _outline(widths[k]) * 2**SUBPIXEL_BITS)
        cv2.circle(canvas, fixed[k], ring, OUTLINE_COLOR, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.circle(canvas, fixed[k], radius, sides[k], cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS)


def _widths(points, shown):
    """[K] pixels: how wide limbs are at each keypoint."""
    extent = np.ptp(points[shown], axis=0).max()
    widths = np.full(len(points), np.clip(round(LIMB_WIDTH * extent), MIN_LIMB_WIDTH, MAX_LIMB_WIDTH), np.float64)
    if np.count_nonzero(shown) > CROWD:
        distances = np.linalg.norm(points[shown, None] - points[None, shown], axis=-1)
        widths[shown] = np.minimum(widths[shown], np.partition(distances, CROWD, axis=1)[:, CROWD] / ROOM)
    return widths


def _outline(width):
    """Pixels of the outline on each side: one of thin limbs, more of wide ones, none of those below a pixel."""
    return 1 + int(width) // 5 if width >= MIN_LIMB_WIDTH else 0


def _sides(skeleton):
    """K colours, by the side of the body each keypoint is on."""
    colors = [CENTER_COLOR] * skeleton.num_keypoints
    for left, right in skeleton.flip_pairs:
        colors[left], colors[right] = LEFT_COLOR, RIGHT_COLOR
    return colors


def _letterbox(image, cell_size):
    """The image, scaled to fit and centred in a cell of (height, width)."""
    height, width = cell_size
    scale = min(height / image.shape[0], width / image.shape[1])
    h, w = (max(1, round(scale * length)) for length in image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = np.full((height, width, 3), CELL_COLOR, np.uint8)
    y, x = (height - h) // 2, (width - w) // 2
    cell[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=interpolation)
    return cell


def _write_caption(strip, text):
    """Writes text into a strip [CAPTION_HEIGHT, width, 3] of the sheet, in place."""

    def text_width(text):
        return cv2.getTextSize(text, CAPTION_FONT, CAPTION_SCALE, 1)[0][0]

    width = strip.shape[1]
    if text_width(text) > width:
        while text and text_width(text + "...") > width:
            text = text[:-1]
        text += "..."
    # putText needs contiguous memory, which a part of the sheet is not.
    written = np.ascontiguousarray(strip)
    x = max(0, (width - text_width(text)) // 2)
    cv2.putText(written, text, (x, CAPTION_HEIGHT - 7), CAPTION_FONT, CAPTION_SCALE, CAPTION_COLOR, 1, cv2.LINE_AA)
    strip[:] = written


def _check_image(image, name):
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        received = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"{name} must be a uint8 array [H, W, 3]. Received: {received}")
