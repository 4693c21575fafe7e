# The roles' state machines, one rule at a time; tests/sim runs them together.
muster_test(test_ps_client_table SOURCES test_ps_client_table.c LINKS muster_ps_protocol)
muster_test(test_ps_cut_gate SOURCES test_ps_cut_gate.c LINKS muster_ps_protocol)
muster_test(test_ps_round_table SOURCES test_ps_round_table.c LINKS muster_ps_protocol)
muster_test(test_worker_session SOURCES test_worker_session.c LINKS muster_worker_protocol)
muster_test(test_worker_round_session SOURCES test_worker_round_session.c LINKS muster_worker_protocol)
foreach(file chief_state cuts evaluations leases membership pacing plan deal rounds)
    muster_test(test_chief_${file} SOURCES test_chief_${file}.c LINKS muster_chief_protocol)
endforeach()
