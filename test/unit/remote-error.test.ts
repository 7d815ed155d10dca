import { describe, expect, test } from "bun:test";
import { END } from "../../ffi/layout.ts";
import {
  describeEnd,
  functionErrorFrom,
  remoteCause,
} from "../../src/client/failures/remote-error.ts";
import { FunctionError, InvalidValue } from "../../src/base/errors.ts";
import { HOST_EXIT } from "../../src/protocol/ends/host-exit.ts";

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe("remoteCause", () => {
  test("has the name, the message, the code and the stack of the error that was caught", () => {
    const record = { name: "SyntaxError", message: "m", code: "E", stack: "SyntaxError: m\n at x" };
    const error = remoteCause(record);
    expect(error).toBeInstanceOf(Error);
    const { name, message, stack } = error;
    expect({ name, message, stack, code: (error as { code?: unknown }).code }).toEqual(record);
  });

  test("has no code when there was none, and no place in a stack when there was none", () => {
    const error = remoteCause({ name: "TypeError", message: "m" });
    expect("code" in error).toBe(false);
    expect(error.stack).toBe("TypeError: m");
  });
});

describe("functionErrorFrom", () => {
  test("rebuilds what the function threw, with both stacks", () => {
    const error = functionErrorFrom(
      encode({ name: "RangeError", message: "too far ✓", code: "E_FAR", stack: "remote stack" }),
    );
    expect(error).toBeInstanceOf(FunctionError);
    expect([error.name, error.message, error.code]).toEqual(["RangeError", "too far ✓", "E_FAR"]);
    expect((error as FunctionError).remoteStack).toBe("remote stack");
    expect(error.stack).toStartWith("remote stack\n    --- called from ---\n");
  });

  test("has rfaas's own code and no remote stack when the thrown error had none", () => {
    const error = functionErrorFrom(encode({ name: "Error", message: "" }));
    expect([error.name, error.message, error.code]).toEqual(["Error", "", "RFAAS_FUNCTION_ERROR"]);
    expect((error as FunctionError).remoteStack).toBeUndefined();
  });

  test("does not believe a code or a stack that is neither text nor a number", () => {
    const error = functionErrorFrom(encode({ name: "E", message: "m", code: {}, stack: {} }));
    expect(error.code).toBe("RFAAS_FUNCTION_ERROR");
    expect((error as FunctionError).remoteStack).toBeUndefined();
  });

  test("has the properties that the thrown error had, and the errors that it gathered", () => {
    const error = functionErrorFrom(
      encode({
        name: "AggregateError",
        message: "m",
        code: 404,
        own: { status: 404, response: { body: "x" } },
        errors: [{ name: "E", message: "disk full", own: { errno: -28 } }, 7],
        held: { original: { name: "TypeError", message: "t" }, none: 1 },
      }),
    );
    expect(error).toMatchObject({ code: 404, status: 404, response: { body: "x" } });
    const { errors, original } = error as FunctionError & { original: Error };
    expect(errors).toHaveLength(1);
    expect(errors![0]).toMatchObject({ name: "E", message: "disk full", errno: -28 });
    expect([original.name, original.message]).toEqual(["TypeError", "t"]);
  });

  test("keeps what is its own, whatever the properties are called", () => {
    const own = JSON.parse(
      '{"__proto__":{"x":1},"message":"no","name":"no","exitCode":0,"code":"no","toString":1,"stack":1}',
    );
    const error = functionErrorFrom(encode({ name: "E", message: "m", own, held: own, errors: 5 }));
    expect(error).toBeInstanceOf(FunctionError);
    expect([error.name, error.message, error.code, error.exitCode]).toEqual([
      "E",
      "m",
      "RFAAS_FUNCTION_ERROR",
      1,
    ]);
    expect(String(error)).toBe("E: m");
    expect("x" in error).toBe(false);
  });

  test("believes nothing of what hangs on an error that is not what it should be", () => {
    for (const odd of [7, null, "text", {}, [[]], [null], { a: null }, true]) {
      const record = { name: "E", message: "m", errors: odd, held: odd, cause: odd };
      const error = functionErrorFrom(encode(record)) as FunctionError;
      expect([error.message, error.errors, error.cause]).toEqual(["m", undefined, undefined]);
      expect(remoteCause(record as never).message).toBe("m");
    }
  });

  test.each<[string, Uint8Array]>([
    ["is empty", new Uint8Array(0)],
    ["is not UTF-8", new Uint8Array([0xff, 0xfe, 0x00])],
    ["is cut off", encode({ name: "E", message: "m" }).subarray(0, 9)],
    ["is null", encode(null)],
    ["is a number", encode(5)],
    ["is a list", encode(["E", "m"])],
    ["has no message", encode({ name: "E" })],
    ["has a name that is no text", encode({ name: 1, message: "m" })],
  ])("reports a record that %s instead of failing on it", (_, bytes) => {
    const error = functionErrorFrom(bytes);
    expect(error).toBeInstanceOf(FunctionError);
    expect(error.message).toBe("the function failed, and its error could not be read");
  });
});

describe("an error with causes", () => {
  const root = { name: "RangeError", message: "the root", code: "E_ROOT" };
  const chain = {
    name: "Error",
    message: "it failed",
    retryable: true,
    cause: { name: "TypeError", message: "why", cause: root },
  };

  test("is rebuilt with all of them, and says whether it may be tried again", () => {
    const error = functionErrorFrom(encode(chain)) as FunctionError;
    expect(error.retryable).toBe(true);
    const cause = error.cause as Error;
    expect([cause.name, cause.message]).toEqual(["TypeError", "why"]);
    expect(cause.cause).toMatchObject(root);
    const plain = functionErrorFrom(encode(root)) as FunctionError;
    expect([plain.retryable, plain.cause]).toEqual([false, undefined]);
  });

  test("is not followed for ever, and believes no cause that is none", () => {
    let deep: object = root;
    for (let i = 0; i < 100; i++) deep = { name: "E", message: `${i}`, cause: deep };
    let depth = 0;
    for (let at: unknown = functionErrorFrom(encode(deep)); at; at = (at as Error).cause) depth++;
    expect(depth).toBe(5);
    for (const cause of [7, null, "x", {}, []])
      expect(functionErrorFrom(encode({ ...root, cause })).cause).toBeUndefined();
  });
});

test("a value that did not validate is an InvalidValue, with its path", () => {
  const invalid = { functionName: "f", side: "output", path: "/a/0", problem: "expected text" };
  const error = functionErrorFrom(encode({ name: "InvalidValue", message: "m", invalid }));
  expect(error).toBeInstanceOf(InvalidValue);
  expect(error).toMatchObject(invalid);
  const odd = encode({ name: "InvalidValue", message: "m", invalid: { side: "back" } });
  expect(functionErrorFrom(odd)).toBeInstanceOf(FunctionError);
});

describe("describeEnd", () => {
  test.each<[number, number, string]>([
    [END.released, 0, "the lease was released"],
    [END.exited, 3, "its host process exited with code 3"],
    [END.nodeStopped, 0, "the node stopped"],
    [END.workerFailed, 0, "an uncaught error ended the worker, or its memory ran out"],
    [END.alive, 0, "its host process or its node died"],
    [0xffff_ffff, 0, "its host process or its node died"],
  ])("says of the end %p with detail %p: %s", (reason, detail, words) => {
    expect(describeEnd(reason, detail)).toBe(words);
  });

  test("says that a function was stuck where nothing could stop it", () => {
    const words = describeEnd(END.exited, HOST_EXIT.stuck);
    expect(words).toContain("did not come back from native code or WebAssembly");
  });

  test("says what a host lacked, and that it was the connection that ended", () => {
    expect(describeEnd(END.exited, HOST_EXIT.noDescriptors)).toContain(
      "had no file descriptors left (EMFILE); raise the node's limit (ulimit -n)",
    );
    expect(describeEnd(END.exited, HOST_EXIT.noResources)).toContain("for want of memory, threads");
    expect(describeEnd(END.disconnected, 0)).toContain(
      "has no connection to this program any more",
    );
  });

  test("says who may have sent a SIGKILL, and what a crash may have been", () => {
    expect(describeEnd(END.signalled, 9)).toContain(
      "signal 9 (SIGKILL), by its own functions, another process, or for lack of memory",
    );
    expect(describeEnd(END.signalled, 11)).toContain("signal 11 (SIGSEGV): a crash in native code");
  });
});
