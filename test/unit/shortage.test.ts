import { describe, expect, test } from "bun:test";
import { NativeError, ShimUnavailable } from "../../ffi/errors.ts";
import { EnvironmentError, LeaseRefused } from "../../src/base/errors.ts";
import { explained, requireDescriptors, shortage } from "../../src/base/shortage.ts";

const failed = (code: string, errno?: number) =>
  Object.assign(new Error("it failed"), { code, errno });

describe("a failure for want of something", () => {
  test.each<[string, unknown, string]>([
    [
      "the code of a system call",
      failed("EMFILE"),
      "the node has no file descriptors left (EMFILE); raise its limit (ulimit -n)",
    ],
    [
      "a failure of the shim",
      new NativeError("creating the lease's memory", -27),
      "(EFBIG); raise its limit (ulimit -f unlimited)",
    ],
    [
      "what the runtime has no name for",
      new NativeError("sending descriptors", -109),
      "too many descriptors on their way between its processes (ETOOMANYREFS)",
    ],
    ["a number of the system", failed("ERR_SYSTEM_ERROR", 24), "no file descriptors left (EMFILE)"],
    ["a negative number", failed("ERR_SYSTEM_ERROR", -12), "the node gets no more memory (ENOMEM)"],
    ["a message alone", new Error("EMFILE: failed to open root directory: /x"), "(EMFILE)"],
    [
      "a cause",
      new Error("outer", { cause: failed("EAGAIN") }),
      "the node may start no more processes or threads (EAGAIN); raise the limit of its user (ulimit -u)",
    ],
    ["a full disk", failed("ENOSPC"), "is full (ENOSPC); free some of it"],
  ])("is told by %s", (_, error, says) => {
    expect(shortage(error, "the node")).toContain(says);
  });

  test.each([
    [failed("ENOENT")],
    [new Error("EVERYTHING is fine")],
    ["EMFILE"],
    [null],
    [undefined],
    [failed("toString")],
  ])("is none, %#", (error) => expect(shortage(error, "the node")).toBeUndefined());

  test("becomes an EnvironmentError, an error of ours stays what it is, any other too", () => {
    const error = explained(failed("EMFILE"), "no lease can be taken") as EnvironmentError;
    expect(error).toBeInstanceOf(EnvironmentError);
    expect(error.message).toStartWith(
      "no lease can be taken: this program has no file descriptors left",
    );
    const ours = new LeaseRefused("RFAAS_X", "no", { cause: failed("EMFILE") });
    expect(explained(ours, "x")).toBe(ours);
    const other = new RangeError("no");
    expect(explained(other, "x")).toBe(other);
    expect(explained(new ShimUnavailable("no shim"), "x")).toMatchObject({
      name: "EnvironmentError",
      message: "no shim",
    });
    expect(
      explained(new NativeError("mapping memory", -22), "the lease cannot be opened"),
    ).toMatchObject({
      name: "EnvironmentError",
      message:
        "the lease cannot be opened: mapping memory failed: EINVAL; rfaas doctor says what this machine lacks",
    });
  });
});

test("a few descriptors can be had here, and are given back", () => {
  for (let i = 0; i < 100; i++) requireDescriptors(16, "this");
});
