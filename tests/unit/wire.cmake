foreach(file frame messages decisions replica_sizes roles greeting)
    muster_test(test_wire_${file} SOURCES test_wire_${file}.c LINKS muster_wire)
endforeach()
