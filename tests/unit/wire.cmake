foreach(file frame messages decisions replica_sizes roles greeting worker_numbers)
    muster_test(test_wire_${file} SOURCES test_wire_${file}.c LINKS muster_wire)
endforeach()
