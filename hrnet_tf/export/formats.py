"""What export writes, by name; imports nothing heavy, so that command lines can list it without TensorFlow."""

# Goes from crops to keypoints.
KEYPOINTS_NAME = "keypoints.onnx"
# The files of each format.
FILE_NAMES = {
    "keras": ("model.keras",),
    "saved_model": ("saved_model/1",),
    "onnx": ("model.onnx", KEYPOINTS_NAME),
    "onnx_float16": ("model_float16.onnx",),
    "litert": ("model_float32.tflite", "model_float16.tflite"),
}
INT8_FILE_NAMES = {"onnx": "model_int8.onnx", "litert": "model_int8.tflite"}
# What training writes.
DEFAULT_FORMATS = ("keras", "saved_model", "onnx")
# Of the images and heatmaps of `model.onnx`, `model_float16.onnx` and `model_int8.onnx`.
LAYOUTS = ("nhwc", "nchw")
