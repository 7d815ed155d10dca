/**
 * What a room does not let its functions do: systems and the engine tell of it in many ways, and none of them says that the function is in
 * a room, nor what would let it.
 */

/** What a room may forbid. */
export const RULES = ["network", "programs", "files", "calls"] as const;
export type Rule = (typeof RULES)[number];

export interface Freedoms {
  network: boolean;
  processes: boolean;
}

const WORDS: Record<Rule, string> = {
  network:
    "its room has no network: take the lease with network: true, of a node that serves with --allow-network",
  programs:
    "its room starts no programs: take the lease with processes: true, of a node that serves with --allow-processes",
  files:
    "its room lets it read its package and the system's libraries, and write in its scratch folder ($TMPDIR): let the node serve with --allow-read PATH to let it read more, or a private node have no room (--sandbox none)",
  calls: "its room has no such system call: rfaas serve --sandbox none forbids none",
};

const OF_SOCKETS = /^(?:socket|connect|bind|listen|getaddrinfo|query\w+)$/;
/** The engine says of any socket that it cannot open that no one listens, and of any name that it cannot ask for it. */
const UNREACHED = ["EPERM", "EACCES", "ECONNREFUSED", "EAI_AGAIN", "ENOTFOUND"];
const OF_ADDRESSES = /^(?:https?|wss?):/;
/** A pipe to a program is a pair of sockets. */
const OF_PROGRAMS = /^(?:posix_spawn|spawn|exec|fork|socketpair)/;
/** `os.networkInterfaces()` asks the kernel by a socket. */
const OF_INTERFACES = /\bgetifaddrs returned an error$/;
/** `Bun.$` throws the error of a program that failed, whether or not it has started it. */
const OF_SHELL = /^bun: Operation not permitted: /m;

let room: Freedoms | undefined;
let tell: (rule: Rule) => void = () => {};
const told = new Set<Rule>();

/** From now on this thread's errors are those of functions in a room; `denied` hears of each rule once. */
export function enterRoom(freedoms: Freedoms, denied: (rule: Rule) => void): void {
  room = freedoms;
  tell = denied;
  told.clear();
}

/** Which rule of the room an error comes of, in words; undefined where it comes of none. */
export function denialOf(error: Error): string | undefined {
  const rule = room && ruleBehind(error as Failure, room);
  if (rule === undefined) return undefined;
  if (!told.has(rule)) {
    told.add(rule);
    tell(rule);
  }
  return WORDS[rule];
}

type Failure = Error & { code?: unknown; syscall?: unknown; path?: unknown; stderr?: unknown };

function ruleBehind(
  { message, code, syscall, path, stderr }: Failure,
  freedoms: Freedoms,
): Rule | undefined {
  const call = typeof syscall === "string" ? syscall : "";
  if (!freedoms.processes && OF_SHELL.test(textIn(stderr))) return "programs";
  if (!freedoms.network && isOfNetwork(String(message), code, call, path)) return "network";
  // What it may not write is on mounts that can only be read, where a room has mounts of its own.
  if (code === "EROFS" && call !== "") return "files";
  if (code !== "EPERM" && code !== "EACCES") return undefined;
  if (OF_PROGRAMS.test(call)) return freedoms.processes ? "files" : "programs";
  if (call === "") return undefined;
  return code === "EACCES" && typeof path === "string" ? "files" : "calls";
}

function isOfNetwork(message: string, code: unknown, call: string, path: unknown): boolean {
  if (OF_SOCKETS.test(call)) return UNREACHED.includes(String(code));
  // `fetch` names a host that it cannot reach with the one code, an address with the other.
  if (call === "" && OF_ADDRESSES.test(String(path)))
    return code === "EPERM" || code === "ECONNREFUSED";
  if (code === "EPERM" && call === "") return message.startsWith("WebSocket connection");
  return message.startsWith("Failed to listen at ") || OF_INTERFACES.test(message);
}

/** Of what a program has said, which may be long. */
const textIn = (said: unknown): string =>
  said instanceof Uint8Array ? new TextDecoder().decode(said.subarray(0, 4096)) : "";
