/** Loaded before a suite that runs with sanitizers: tells, when all tests have closed what they opened, whether memory is left. */
import { dlopen } from "bun:ffi";
import { afterAll } from "bun:test";

const { symbols } = dlopen(process.env["LD_PRELOAD"]!, {
  __lsan_do_recoverable_leak_check: { args: [], returns: "i32" },
});

afterAll(() => {
  const leaks = symbols.__lsan_do_recoverable_leak_check();
  console.error(leaks === 0 ? "leaks: none" : "leaks: some, which are printed above");
});
