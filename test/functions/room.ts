/** What a function finds in its room, and what it can do there. */
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";

type Bytes = Uint8Array<ArrayBuffer>;
const write = (output: Bytes, value: unknown): number =>
  new TextEncoder().encodeInto(JSON.stringify(value), output).written;
const read = <Value>(input: Bytes): Value => JSON.parse(new TextDecoder().decode(input)) as Value;

/** `undefined`, or the code of the error. */
function codeOf(attempt: () => void): string | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

export function add(input: Bytes, output: Bytes): number {
  new Uint32Array(output.buffer, output.byteOffset, 1)[0] = new Uint32Array(
    input.buffer,
    input.byteOffset,
    2,
  ).reduce((a, b) => a + b);
  return 4;
}

/** Looks at paths of the node's, and around. */
export function look(input: Bytes, output: Bytes): number {
  const { secrets } = read<{ secrets: string[] }>(input);
  const scratch = process.env["TMPDIR"]!;
  const status = readFileSync("/proc/self/status", "latin1");
  return write(output, {
    pid: process.pid,
    processes: readdirSync("/proc").filter((name) => /^\d+$/.test(name)).length,
    environment: Object.keys(process.env).toSorted(),
    home: process.env["HOME"],
    seen: secrets.filter((path) => existsSync(path)),
    package: codeOf(() => writeFileSync(`${import.meta.dir}/planted`, "")),
    packages: codeOf(() => writeFileSync(`${dirname(dirname(import.meta.dir))}/planted`, "")),
    removes: codeOf(() => rmSync(import.meta.path)),
    kernel: codeOf(() => writeFileSync("/proc/sys/kernel/domainname", "planted")),
    system: codeOf(() => writeFileSync("/usr/planted", "")),
    root: codeOf(() => writeFileSync("/planted", "")),
    scratch: codeOf(() => writeFileSync(`${scratch}/planted`, "")),
    temporary: codeOf(() => writeFileSync("/tmp/planted-too", "")),
    shared: readdirSync(scratch).toSorted(),
    noNewPrivileges: /^NoNewPrivs:\t(\d)/m.exec(status)?.[1],
    capabilities: /^CapEff:\t(\w+)/m.exec(status)?.[1],
  });
}

/** What it finds of variables. */
export function variables(input: Bytes, output: Bytes): number {
  const { names } = read<{ names: string[] }>(input);
  return write(output, Object.fromEntries(names.map((name) => [name, process.env[name]])));
}

/** Whether a port of this machine answers. */
export async function reach(input: Bytes, output: Bytes): Promise<number> {
  const { port } = read<{ port: number }>(input);
  const code = await new Promise<string | null>((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(null);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "failed"));
  });
  return write(output, { code });
}

/** Writes a file of so many bytes to its scratch folder, in the place of the one before; a `nameless` one is there as long as it is open. */
export function fill(input: Bytes, output: Bytes): number {
  const { mebibytes, nameless } = read<{ mebibytes: number; nameless?: boolean }>(input);
  const path = `${process.env["TMPDIR"]}/filled`;
  const file = openSync(path, "w");
  if (nameless) rmSync(path);
  const piece = new Uint8Array(1 << 20).fill(1);
  for (let i = 0; i < mebibytes; i++) writeSync(file, piece);
  closeSync(file);
  return write(output, {});
}

/** Leaves a process behind that is known by how long it sleeps, and has a session of its own. */
export function leave(input: Bytes, output: Bytes): number {
  const { seconds } = read<{ seconds: number }>(input);
  Bun.spawn(["setsid", "sleep", String(seconds)], {
    stdio: ["ignore", "ignore", "ignore"],
  }).unref();
  return write(output, {});
}

export function spin(): number {
  for (;;);
}
