foreach(file loop mailbox timer signal)
    muster_test(test_event_${file} SOURCES test_event_${file}.c LINKS muster_event)
endforeach()
