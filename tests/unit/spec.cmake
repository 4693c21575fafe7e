muster_test(test_spec_tf_config SOURCES test_spec_tf_config.c config_cases.c LINKS muster_cli
            ARGS ${CMAKE_SOURCE_DIR}/tests/golden/config/tf_config.txt)
muster_test(test_spec_partitioner SOURCES test_spec_partitioner.c LINKS muster_spec)
muster_test(test_spec_python_text SOURCES test_spec_python_text.c LINKS muster_spec)
muster_test(test_spec_json_source SOURCES test_spec_json_source.c LINKS muster_spec)
muster_test(test_spec_job SOURCES test_spec_job.c LINKS muster_spec)
muster_test(test_spec_job_callbacks SOURCES test_spec_job_callbacks.c LINKS muster_spec)
muster_test(test_spec_job_data SOURCES test_spec_job_data.c LINKS muster_spec)
muster_test(test_spec_job_replicas SOURCES test_spec_job_replicas.c LINKS muster_spec)
muster_test(test_spec_job_schema SOURCES test_spec_job_schema.c LINKS muster_spec
            ARGS ${CMAKE_SOURCE_DIR}/cluster-specs/job.schema.json ${CMAKE_CURRENT_BINARY_DIR}/job.schema.json)
