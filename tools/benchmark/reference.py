"""What benchmark.py measures of the published PyTorch implementation, from a checkout of it.

https://github.com/leoxiaobin/deep-high-resolution-net.pytorch, as it is: eager, float32, channels first; and its
network compiled and frozen, channels last, in float32 and bfloat16, which is as fast as PyTorch gets it.
"""

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch

from benchmark.networks import Case
from benchmark.people import INPUT_BATCH, pulled
from hrnet_tf.errors import InputError

_STAGES = {"hrnet_w32": 32, "hrnet_w48": 48}
_NUM_WORKERS = 2
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Config(types.SimpleNamespace):
    """Settings by attribute, and by item where the reference reads them so."""

    def __getitem__(self, name):
        return getattr(self, name)


class Reference:
    """The cases of a checkout, by group; each method has the arguments of the function of its name there."""

    def __init__(self, path):
        library = Path(path, "lib")
        if not (library / "models" / "pose_hrnet.py").is_file():
            raise InputError(f"--reference must be a checkout of deep-high-resolution-net.pytorch. Received: {path}")
        sys.path.insert(0, str(library))
        # Not used in what is measured: compiled suppression, and a faster reader of JSON.
        for name in ("nms", "nms.nms", "json_tricks"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["nms.nms"].oks_nms = sys.modules["nms.nms"].soft_oks_nms = None
        vars(np).setdefault("float", float)  # of its time's numpy
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def forward(self, settings, images, flops):
        batch_size = len(images)
        normalized = (images / 255 - _MEAN) / _DEVIATION
        inputs = torch.tensor(normalized.transpose(0, 3, 1, 2), dtype=torch.float32, device=self.device)
        cases = []

        def add(name, network, inputs, precision):
            def run():
                with torch.inference_mode():
                    network(inputs).float().cpu()

            cases.append(
                Case(f"forward PyTorch {name}, batch {batch_size}", run, batch_size, batch_size * flops, precision)
            )

        network = self._network(settings).eval()
        add("reference float32", network, inputs, "float32")
        torch._inductor.config.freezing = True
        for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            fast = self._network(settings).eval().to(dtype=dtype, memory_format=torch.channels_last)
            last = inputs.to(dtype=dtype, memory_format=torch.channels_last)
            add(f"compiled, frozen, channels last {precision}", torch.compile(fast), last, precision)
        return cases

    def train(self, settings, images, targets):
        """The step as published, and one compiled in bfloat16, channels last, without the accuracy on the host."""
        loss_class = importlib.import_module("core.loss").JointsMSELoss
        accuracy = importlib.import_module("core.evaluate").accuracy
        to_torch = {"dtype": torch.float32, "device": self.device}
        inputs = torch.tensor(((images / 255 - _MEAN) / _DEVIATION).transpose(0, 3, 1, 2), **to_torch)
        maps = torch.tensor(targets.transpose(0, 3, 1, 2), **to_torch)
        weight = torch.ones((len(images), maps.shape[1], 1), device=self.device)

        def step_of(network, compute, **adam):
            loss, optimizer = loss_class(True), torch.optim.Adam(network.parameters(), 1e-3, **adam)

            def step():
                output = compute(network)
                value = loss(output, maps, weight)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                return output, value

            return step

        def autocast(compiled):
            with torch.autocast(self.device, torch.bfloat16):
                return compiled(inputs.contiguous(memory_format=torch.channels_last)).float()

        published = step_of(self._network(settings).train(), lambda network: network(inputs))
        network = self._network(settings).train().to(memory_format=torch.channels_last)
        compiled = step_of(torch.compile(network), autocast, fused=True)
        batch = f"batch {len(images)}"
        return [
            Case(
                f"training step, PyTorch reference float32, {batch}",
                lambda: accuracy(published()[0].detach().cpu().numpy(), maps.cpu().numpy()),
                len(images),
            ),
            Case(
                f"training step, PyTorch compiled, channels last bfloat16, {batch}",
                lambda: compiled()[1].item(),
                len(images),
            ),
        ]

    def input_pipeline(self, settings, data_dir, split, num_batches):
        dataset_class = importlib.import_module("dataset.coco").COCODataset
        dataset = dataset_class(_data_config(settings), data_dir, split, True, _to_normalized_tensor)
        dataset.db = dataset.db * settings.copies
        # Forked as they are by default on Linux; this process was not.
        workers = {"num_workers": _NUM_WORKERS, "multiprocessing_context": "fork"}
        loader = torch.utils.data.DataLoader(dataset, INPUT_BATCH, shuffle=True, **workers)
        return [pulled(f"input, PyTorch reference, {_NUM_WORKERS} workers", lambda: iter(loader), num_batches)]

    def postprocess(self, settings, maps, boxes):
        inference = importlib.import_module("core.inference")
        flip_back = importlib.import_module("utils.transforms").flip_back
        plain, mirrored = (np.ascontiguousarray(part.transpose(0, 3, 1, 2)) for part in maps)
        pairs = [[left, left + 1] for left in range(1, 17, 2)]
        config = _Config(TEST=_Config(POST_PROCESS=True))
        center, scale = boxes[:, :2] + boxes[:, 2:] / 2, 1.25 * boxes[:, 2:] / 200

        def locate(maps):
            inference.get_final_preds(config, maps, center, scale)

        def run():
            shifted = flip_back(mirrored, pairs).copy()
            shifted[:, :, :, 1:] = shifted[:, :, :, :-1].copy()
            locate((plain + shifted) * 0.5)

        name = "PyTorch reference: "
        return [
            Case(f"{name}flip back, decode, to the image", run, len(boxes)),
            Case(f"{name}decode, to the image", lambda: locate(plain), len(boxes)),
        ]

    def _network(self, settings):
        """The network as published, with random weights."""
        if settings.model not in _STAGES:
            raise InputError(f"--reference knows {', '.join(_STAGES)}. Received: --model={settings.model}")
        width = _STAGES[settings.model]
        stages = {
            f"STAGE{stage}": {
                "NUM_MODULES": modules,
                "NUM_BRANCHES": stage,
                "BLOCK": "BASIC",
                "NUM_BLOCKS": [4] * stage,
                "NUM_CHANNELS": [width * 2**branch for branch in range(stage)],
                "FUSE_METHOD": "SUM",
            }
            for stage, modules in ((2, 1), (3, 4), (4, 3))
        }
        extra = stages | {"FINAL_CONV_KERNEL": 1, "PRETRAINED_LAYERS": ["*"]}
        config = _Config(MODEL=_Config(EXTRA=extra, NUM_JOINTS=17, INIT_WEIGHTS=False, PRETRAINED=""))
        return importlib.import_module("models.pose_hrnet").get_pose_net(config, False).to(self.device)


def _data_config(settings):
    """The published training configuration of the dataset."""
    height, width = settings.input_size
    return _Config(
        OUTPUT_DIR="",
        DATASET=_Config(
            DATA_FORMAT="jpg",
            SCALE_FACTOR=0.35,
            ROT_FACTOR=45,
            FLIP=True,
            NUM_JOINTS_HALF_BODY=8,
            PROB_HALF_BODY=0.3,
            COLOR_RGB=True,
            SELECT_DATA=False,
        ),
        MODEL=_Config(
            TARGET_TYPE="gaussian", IMAGE_SIZE=[width, height], HEATMAP_SIZE=[width // 4, height // 4], SIGMA=2
        ),
        LOSS=_Config(USE_DIFFERENT_JOINTS_WEIGHT=False),
        TEST=_Config(
            NMS_THRE=1.0,
            IMAGE_THRE=0.0,
            SOFT_NMS=False,
            OKS_THRE=0.9,
            IN_VIS_THRE=0.2,
            COCO_BBOX_FILE="",
            USE_GT_BBOX=True,
        ),
    )


def _to_normalized_tensor(image):
    """What torchvision's ToTensor and Normalize do."""
    tensor = torch.from_numpy(image.transpose(2, 0, 1)).contiguous().float().div(255)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return tensor.sub_(mean).div_(deviation)
