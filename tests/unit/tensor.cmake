foreach(file dtype shape isa)
    muster_test(test_tensor_${file} SOURCES test_tensor_${file}.c LINKS muster_tensor)
endforeach()
