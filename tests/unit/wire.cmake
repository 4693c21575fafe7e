foreach(file frame messages decisions roles greeting)
    muster_test(test_wire_${file} SOURCES test_wire_${file}.c LINKS muster_wire)
endforeach()
