/* Loads a SavedModel as TensorFlow Serving does and runs one signature that takes an encoded image and boxes.

   load_saved_model FOLDER IMAGE_FILE IMAGE_TENSOR BOXES_TENSOR KEYPOINTS_TENSOR INDEX NUMBER...
   Tensors are operation names; INDEX is that of the output. NUMBERs are x, y, width, height of each box.
   Prints the keypoints, or TensorFlow's error code and message and exits with 2. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

static void check(TF_Status* status) {
  if (TF_GetCode(status) == TF_OK) return;
  printf("%d %s\n", (int)TF_GetCode(status), TF_Message(status));
  exit(2);
}

static TF_Tensor* read_file(const char* path) {
  static char buffer[1 << 20];
  FILE* file = fopen(path, "rb");
  if (!file) exit(3);
  size_t length = fread(buffer, 1, sizeof buffer, file);
  fclose(file);
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, NULL, 0, sizeof(TF_TString));
  TF_TString* string = TF_TensorData(tensor);
  TF_StringInit(string);
  TF_StringCopy(string, buffer, length);
  return tensor;
}

int main(int argc, char** argv) {
  if (argc < 7) return 3;
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status);

  int64_t shape[] = {(argc - 7) / 4, 4};
  TF_Tensor* boxes = TF_AllocateTensor(TF_FLOAT, shape, 2, shape[0] * 4 * sizeof(float));
  for (int i = 0; i < shape[0] * 4; i++) ((float*)TF_TensorData(boxes))[i] = strtof(argv[7 + i], NULL);

  TF_Output inputs[] = {{TF_GraphOperationByName(graph, argv[3]), 0}, {TF_GraphOperationByName(graph, argv[4]), 0}};
  TF_Output output = {TF_GraphOperationByName(graph, argv[5]), atoi(argv[6])};
  if (!inputs[0].oper || !inputs[1].oper || !output.oper) return 4;
  TF_Tensor* values[] = {read_file(argv[2]), boxes};
  TF_Tensor* keypoints = NULL;
  TF_SessionRun(session, NULL, inputs, values, 2, &output, &keypoints, 1, NULL, 0, NULL, status);
  check(status);

  size_t count = TF_TensorByteSize(keypoints) / sizeof(float);
  for (size_t i = 0; i < count; i++) printf("%.9g\n", ((float*)TF_TensorData(keypoints))[i]);
  return 0;
}
