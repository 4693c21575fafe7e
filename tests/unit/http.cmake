foreach(file address server)
    muster_test(test_http_${file} SOURCES test_http_${file}.c LINKS muster_http)
endforeach()
