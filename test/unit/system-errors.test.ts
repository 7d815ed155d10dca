import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { NativeError } from "../../ffi/errors.ts";
import { portHolder, portInUse, whyNotListening } from "../../src/control/port-holder.ts";
import { isSystemError, reasonOf } from "../../src/base/system-errors.ts";

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("the reason of an error", () => {
  test.each([
    ["EMFILE", "ulimit -n"],
    ["EAGAIN", "ulimit -u"],
    ["ENOMEM", "ulimit -v"],
    ["EFBIG", "ulimit -f"],
    ["ENOSPC", "is full"],
    ["EROFS", "cannot be written"],
    ["EACCES", "permission is denied"],
    ["EISDIR", "it is a folder, and a file is wanted"],
  ])("of %s names the limit: %s", (code, says) => {
    expect(reasonOf(Object.assign(new Error("m"), { code }))).toContain(`(${code})`);
    expect(reasonOf(Object.assign(new Error("m"), { code }))).toContain(says);
  });

  test("is the error's own message where there is no more to say", () => {
    expect(reasonOf(new Error("boom"))).toBe("boom");
    expect(reasonOf(Object.assign(new Error("boom"), { code: "constructor" }))).toBe("boom");
    expect(reasonOf("text")).toBe("text");
  });

  test("tells what the system refused from what is wrong with the code", () => {
    expect(isSystemError(thrownBy(() => readFileSync("/nowhere")))).toBe(true);
    expect(isSystemError(thrownBy(() => writeFileSync("/tmp", "")))).toBe(true);
    expect(isSystemError(new NativeError("mapping", -12))).toBe(true);
    expect(isSystemError(new TypeError("x is not a function"))).toBe(false);
    expect(isSystemError(Object.assign(new Error("m"), { code: "ERR_INVALID_ARG_TYPE" }))).toBe(
      false,
    );
    expect(isSystemError("ENOENT")).toBe(false);
  });
});

describe("a port that is taken", () => {
  test("is told with the process that has it", () => {
    using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    expect(portHolder(port)).toStartWith(`process ${process.pid} (`);
    expect(portInUse(`127.0.0.1:${port}`, port, "--listen")).toMatch(
      new RegExp(
        `^127\\.0\\.0\\.1:${port} is in use by process ${process.pid} \\(.+\\); stop it or choose`,
      ),
    );
  });

  test("is told without where nobody is seen", () => {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    expect(portHolder(port)).toBeUndefined();
    expect(portInUse(`a:${port}`, port, "--http")).toContain("choose another --http");
  });
});

test("an address that the machine does not have, and a name that nobody has, are told as such", () => {
  const cause = new Error("Failed to listen");
  expect(whyNotListening(cause, "192.0.2.1")).toContain("does not have the address 192.0.2.1");
  expect(whyNotListening(cause, "nowhere.invalid")).toContain("no address of this machine");
  expect(whyNotListening(Object.assign(cause, { code: "EACCES" }), "127.0.0.1")).toContain(
    "EACCES",
  );
});
