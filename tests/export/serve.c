/* Serves texts with a SavedModel by TensorFlow's C API, the loader of TF Serving.
   serve SAVED_MODEL INPUT OUTPUT INDEX OP_LIBRARY TEXT... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %.300s\n", what, TF_Message(status));
  exit(1);
}

static void keep(void* data, size_t length, void* arg) {}

int main(int count, char** words) {
  TF_Status* status = TF_NewStatus();
  TF_LoadLibrary(words[5], status);
  check(status, "operations");
  TF_Graph* graph = TF_NewGraph();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(
      TF_NewSessionOptions(), NULL, words[1], tags, 1, graph, NULL, status);
  check(status, "load");
  int64_t rows = count - 6;
  TF_TString* texts = malloc(rows * sizeof(TF_TString));
  for (int i = 0; i < rows; i++) {
    TF_TString_Init(&texts[i]);
    TF_TString_Copy(&texts[i], words[6 + i], strlen(words[6 + i]));
  }
  TF_Tensor* given = TF_NewTensor(TF_STRING, &rows, 1, texts,
                                  rows * sizeof(TF_TString), keep, NULL);
  TF_Output in = {TF_GraphOperationByName(graph, words[2]), 0};
  TF_Output out = {TF_GraphOperationByName(graph, words[3]), atoi(words[4])};
  TF_Tensor* found = NULL;
  TF_SessionRun(session, NULL, &in, &given, 1, &out, &found, 1, NULL, 0, NULL, status);
  check(status, "run");
  TF_TString* answers = TF_TensorData(found);
  for (int i = 0; i < TF_Dim(found, 0); i++)
    printf("%.*s\n", (int)TF_TString_GetSize(&answers[i]),
           TF_TString_GetDataPointer(&answers[i]));
  return 0;
}
