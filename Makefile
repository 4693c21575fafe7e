# Names for those who have make; every command is a script in tools/ and explains itself with --help.
.PHONY: all demo test check format sim chaos fuzz bench test-interop package clean

all:
	tools/build release
demo:
	tools/demo
test:
	tools/test
check:
	tools/check
format:
	tools/format
sim:
	tools/sim
chaos:
	tools/chaos
fuzz:
	tools/fuzz
bench:
	bench/run
test-interop:
	tests/interop/run
package:
	tools/package
clean:
	rm -rf build
