muster_test(test_data_idx SOURCES test_data_idx.c data_files.c LINKS muster_data)
muster_test(test_data_dataset SOURCES test_data_dataset.c data_files.c LINKS muster_data)
muster_test(test_data_batches SOURCES test_data_batches.c data_files.c LINKS muster_data)
muster_test(test_data_prefetch SOURCES test_data_prefetch.c data_files.c LINKS muster_data)
