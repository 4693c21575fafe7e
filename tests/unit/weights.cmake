muster_test(test_weights_places SOURCES test_weights_places.c model_texts.c LINKS muster_weights)
