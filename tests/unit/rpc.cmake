foreach(file parser send_queue)
    muster_test(test_rpc_${file} SOURCES test_rpc_${file}.c rpc_frames.c LINKS muster_rpc)
endforeach()
