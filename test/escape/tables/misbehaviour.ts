/**
 * What functions do to the process that they run in, to the words between it and its agent, and to who reads their results. It may
 * harm its own lease. What comes of the call is expected, and that all else goes on: the lease itself where it says so.
 */
export interface Misbehaviour {
  name: string;
  kind: "TypeScript" | "native";
  call: string;
  input?: string;
  /** What comes of it: its result, or the class or the code of its error. */
  outcome: readonly string[];
  /** The lease answers afterwards. */
  goesOn?: true;
  /** That it is real harm: another call of the same module and what it gives, which a harmless one would not. */
  control: { call: string; input?: string; outcome: readonly string[] };
}

const ENDED = ["WorkerLost", "LeaseLost"];
const LATE = ["DeadlineExceeded", ...ENDED];

const TRAPS = [
  ...["proxy", "revoked", "message", "stack", "cause", "long", "name", "text", "inspect", "then"],
  "escapes",
];
/** What it throws stops code that looks at it, and not the worker. */
const throwing = TRAPS.map((trap): Misbehaviour => ({
  ...{ name: `throws a trap: ${trap}`, kind: "TypeScript", call: "throws", input: trap },
  ...{ outcome: ["FunctionError"], goesOn: true },
  control: { call: "looks", input: trap, outcome: ["bites"] },
}));

const POLLUTIONS = [
  ...["array", "promise", "constructor", "json", "atomics", "map", "bytes", "views", "text"],
  ...["error", "timers", "prototype"],
];
/** Its own result shows that it took; the calls of this lease have an error at worst, and none a wrong answer. */
const polluting = POLLUTIONS.map((what): Misbehaviour => ({
  ...{ name: `pollutes: ${what}`, kind: "TypeScript", call: "pollutes", input: what },
  outcome: ["bites", "FunctionError", "InvalidOutput", ...LATE],
  control: { call: "pollutes", input: what, outcome: ["bites", "FunctionError", ...LATE] },
}));

const harmless = { call: "ends", input: "not at all", outcome: ["ended as it should"] };
/** Without a pid namespace it stops, and its call is late; the first process of one cannot be stopped from inside. */
const STOPS = [...LATE, "ended as it should"];
const ENDS: readonly [string, readonly string[], goesOn?: true][] = [
  ["exit", ["RFAAS_EXIT_FORBIDDEN"], true],
  ["abort", ["ERR_WORKER_UNSUPPORTED_OPERATION"], true],
  ["kill", ENDED],
  ["stop", STOPS],
  ["loop", LATE],
  ["match", [...LATE, "false"]],
  ["never", LATE],
  ["recursion", ["FunctionError"], true],
];
const ending = ENDS.map(([how, outcome, goesOn]): Misbehaviour => ({
  ...{ name: `ends by ${how}`, kind: "TypeScript", call: "ends", input: how, outcome },
  ...(goesOn && { goesOn }),
  control: harmless,
}));

/** The honest call of the same library, which answers. */
const sound = { call: "echo", input: "sound", outcome: ["sound"] };
const NATIVE: readonly [name: string, call: string, outcome: readonly string[]][] = [
  ["faults", "faults", ENDED],
  ["aborts", "aborts", ENDED],
  ["ends the process at once", "leaves", ENDED],
  ["smashes its stack", "smashes", ENDED],
  ["scribbles over all slots of its lease", "scribbles", [...LATE, "", "FunctionError"]],
  ["clears all slots of its lease", "clears", [...LATE, "", "FunctionError"]],
  ["unmaps the memory of its lease", "unmaps", [...LATE, ""]],
  ["closes every descriptor of the host", "closes", [...LATE, "x"]],
  ["forges words of slots from a thread", "forges", [...LATE, "x", "FunctionError"]],
];
const native = NATIVE.map(([name, call, outcome]): Misbehaviour => ({
  ...{ name, kind: "native", call, input: "x", outcome, control: sound },
}));

export const MISBEHAVIOUR: readonly Misbehaviour[] = [
  ...throwing,
  ...polluting,
  ...ending,
  ...native,
];
