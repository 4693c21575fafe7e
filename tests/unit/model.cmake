muster_test(test_model_model SOURCES test_model_model.c model_texts.c LINKS muster_model
            ARGS ${CMAKE_SOURCE_DIR}/tests/golden/models)
muster_test(test_model_graph SOURCES test_model_graph.c model_texts.c LINKS muster_model)
muster_test(test_model_layer SOURCES test_model_layer.c model_texts.c LINKS muster_model)
muster_test(test_model_compile SOURCES test_model_compile.c model_texts.c LINKS muster_model)
muster_test(test_model_input SOURCES test_model_input.c model_texts.c data_files.c LINKS muster_model)
muster_test(test_model_confusion SOURCES test_model_confusion.c LINKS muster_model)
