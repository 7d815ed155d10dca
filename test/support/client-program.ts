/** A client as a program of its own: for what it may throw, run out of, or leave behind. */
import { RFAAS, ROOT } from "./executable.ts";
import { Scratch } from "./scratch.ts";

export interface ClientEnd {
  exitCode: number | null;
  /** What the program has said, in order: `say(value)` in its source. */
  said: unknown[];
  stderr: string;
}

const PRELUDE = `
import * as rfaas from ${JSON.stringify(`${ROOT}/test/support/library.ts`)};
const { invoker } = rfaas;
const FUNCTIONS = ${JSON.stringify(`${ROOT}/test/functions`)};
const say = (value) => void process.stdout.write(JSON.stringify(value) + "\\n");
const failure = (error) => ({ name: error?.name, code: error?.code, message: error?.message, path: error?.path });
`;

/** Runs the source text of a program to its end; `prefix` is a command that starts it with limits. */
export async function runClient(
  source: string,
  options: { prefix?: readonly string[]; env?: Record<string, string>; limitMs?: number } = {},
): Promise<ClientEnd> {
  const { prefix = [], env = {}, limitMs = 60_000 } = options;
  using scratch = new Scratch();
  const program = scratch.file("client.mts", PRELUDE + source);
  const child = Bun.spawn([...prefix, process.execPath, program], {
    env: { ...process.env, RFAAS_EXECUTABLE: RFAAS, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let overdue = false;
  const timer = setTimeout(() => {
    overdue = true;
    child.kill("SIGKILL");
  }, limitMs);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  clearTimeout(timer);
  const said = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line): unknown => JSON.parse(line));
  if (overdue)
    throw new Error(`the client did not end within ${limitMs} ms:\n${stdout}\n${stderr}`);
  return { exitCode: child.exitCode, said, stderr };
}
