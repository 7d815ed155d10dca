/** Which rule of a room an error comes of, in the shapes in which the engine and the system throw them. */
import { afterEach, expect, test } from "bun:test";
import {
  type Freedoms,
  type Rule,
  denialOf,
  enterRoom,
} from "../../src/executor/results/denied.ts";

const CLOSED: Freedoms = { network: false, processes: false };
const failure = (fields: object, message = "it failed"): Error =>
  Object.assign(new Error(message), fields);

let told: Rule[] = [];
function ruleOf(error: Error, freedoms = CLOSED): Rule | undefined {
  told = [];
  enterRoom(freedoms, (rule) => told.push(rule));
  return denialOf(error) === undefined ? undefined : told[0];
}
afterEach(() => enterRoom({ network: true, processes: true }, () => {}));

const SHAPES: [Rule, Error][] = [
  ["programs", failure({ code: "EPERM", syscall: "posix_spawn", path: "/bin/true" })],
  ["programs", failure({ code: "EPERM", syscall: "socketpair", path: "/bin/sh" })],
  ["programs", failure({ code: "EPERM", syscall: "spawnSync /bin/sh", path: "/bin/sh" })],
  [
    "programs",
    failure({ exitCode: 1, stderr: Buffer.from("bun: Operation not permitted: /bin/ls\n") }),
  ],
  ["network", failure({ code: "ECONNREFUSED", syscall: "connect" })],
  ["network", failure({ code: "ECONNREFUSED", path: "http://localhost:9/" })],
  ["network", failure({ code: "ERR_SYSTEM_ERROR" }, "getifaddrs returned an error")],
  ["network", failure({ code: "EAI_AGAIN", syscall: "getaddrinfo" })],
  ["network", failure({ code: "EPERM", path: "http://127.0.0.1:1/" })],
  ["network", failure({ code: "EPERM" }, "WebSocket connection to 'ws://h' failed")],
  ["network", failure({}, "Failed to listen at 127.0.0.1")],
  ["files", failure({ code: "EACCES", syscall: "open", path: "/etc/shadow" })],
  ["files", failure({ code: "EROFS", syscall: "chmod", path: "/etc/passwd" })],
  ["calls", failure({ code: "EPERM", syscall: "kill" })],
  ["calls", failure({ code: "EPERM", syscall: "watch", path: "/usr" })],
];
test("each shape in which an error is thrown has its rule", () => {
  for (const [rule, error] of SHAPES)
    expect([error.message, ruleOf(error)]).toEqual([error.message, rule]);
});

test("with the freedom that an error is about, it is what it says", () => {
  const free = { network: true, processes: true };
  const [, refused] = SHAPES.find(([rule]) => rule === "network")!;
  expect(ruleOf(refused, free)).toBeUndefined();
  // A program that may be started, and that its rules do not let it read.
  expect(ruleOf(failure({ code: "EACCES", syscall: "posix_spawn" }), free)).toBe("files");
});

test("other errors, and those that a function makes, come of no rule", () => {
  const ENOENT = failure({ code: "ENOENT", syscall: "open", path: "/nowhere" });
  const complained = failure({ exitCode: 1, stderr: Buffer.from("ls: cannot open\n") });
  for (const error of [ENOENT, new Error("EPERM"), failure({ code: "EPERM" }), complained])
    expect(ruleOf(error)).toBeUndefined();
});

test("a rule is told once, and again in the next lease", () => {
  const [[, first]] = SHAPES as [[Rule, Error]];
  expect(ruleOf(first)).toBe("programs");
  denialOf(first);
  expect(told).toEqual(["programs"]);
  expect(ruleOf(first)).toBe("programs");
});
