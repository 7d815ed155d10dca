import { FunctionError, InvalidValue } from "../../../src/base/errors.ts";
import {
  describeEnd,
  functionErrorFrom,
  signalName,
} from "../../../src/client/failures/remote-error.ts";
import type { Subject } from "../engine/fuzzer.ts";
import { bytesOf, must } from "./outcome.ts";

const error = { name: "E", message: "m" };
const records: unknown[] = [
  { ...error, stack: "E: m\n at x", code: 5, retryable: true, cause: { ...error, cause: error } },
  { ...error, code: "X", errors: [error, 1], held: { inner: error }, own: { a: 1, message: 2 } },
  {
    ...error,
    invalid: { functionName: "f", side: "input", path: "/a", problem: "p" },
    cause: error,
  },
  { ...error, invalid: { side: "output" } },
  { ...error, invalid: null, kept: null },
  { ...error, kept: { ticket: 1, bytes: 8 } },
  { ...error, kept: { ticket: -1, bytes: -8 } },
  { name: 1 },
  null,
  "text",
];

export const subject: Subject = {
  seeds: [...records.map((record) => bytesOf(JSON.stringify(record))), new Uint8Array([0, 9])],
  maxBytes: 1024,
  run(input) {
    const failure = functionErrorFrom(input);
    must(
      failure instanceof FunctionError || failure instanceof InvalidValue,
      "is no error of a function",
    );
    must(typeof failure.message === "string" && typeof failure.stack === "string", "has no words");
    // What ends a lease is two numbers in its memory.
    const [reason = 0, detail = 0] = input;
    must(describeEnd(reason, detail).length > 0, "ends without a reason");
    signalName(reason);
  },
};
