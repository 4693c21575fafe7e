muster_test(test_weights_places SOURCES test_weights_places.c model_texts.c LINKS muster_weights)

# What tests/interop/test_random_models.py drives.
add_executable(batch_tool ${CMAKE_SOURCE_DIR}/tests/interop/batch_tool.c)
target_link_libraries(batch_tool PRIVATE muster_weights muster_model muster_device muster_spec muster_warnings)
add_dependencies(batch_tool muster_keras_module)
