# What is driven by a test without sockets, then what talks to a stranger.
foreach(file parser send_queue)
    muster_test(test_rpc_${file} SOURCES test_rpc_${file}.c rpc_frames.c LINKS muster_rpc)
endforeach()
muster_test(test_rpc_socket_address SOURCES test_rpc_socket_address.c LINKS muster_rpc)
foreach(file conn conn_move conn_tcp client peer peer_waits resolve service server)
    muster_test(test_rpc_${file} SOURCES test_rpc_${file}.c rpc_frames.c rpc_stranger.c LINKS muster_rpc)
endforeach()
