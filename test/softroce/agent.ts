/**
 * Runs in a guest: starts the commands that the host sends over a virtio port, and sends back what they print and how they end.
 * When the host hangs up, the agent ends, and with it the guest.
 */
import {
  closeSync,
  createReadStream,
  openSync,
  readFileSync,
  readdirSync,
  writeSync,
} from "node:fs";
import { constants } from "node:os";
import { type FromGuest, Lines, type StartCommand, type ToGuest } from "./messages.ts";

/** For how long a command's background processes may hold back its end by keeping its output open. */
const DRAIN_LIMIT_MS = 500;
const PORTS = "/sys/class/virtio-ports";

const running = new Map<number, Bun.Subprocess<"ignore", "pipe", "inherit">>();
const name = readdirSync(PORTS).find(
  (port) => readFileSync(`${PORTS}/${port}/name`, "utf8").trim() === "agent",
);
const port = openSync(`/dev/${name}`, "r+");

const configured = readFileSync("/.guest/configured", "utf8").trim();
if (configured !== "0") {
  console.error("setting up the network or the RDMA device failed");
  process.exit(1);
}
send({ kind: "ready" });

const lines = new Lines();
for await (const bytes of createReadStream("", { fd: port }))
  for (const line of lines.take(bytes)) {
    const message = JSON.parse(line) as ToGuest;
    if (message.kind === "start") void start(message);
    else signal(message.id, message.signal);
  }
closeSync(port);

/** Writes all of it at once: other lines cannot come between, and a host that reads slowly slows the commands. */
function send(message: FromGuest): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
  for (let at = 0; at < bytes.length;) at += writeSync(port, bytes, at);
}

async function start({ id, words, env }: StartCommand): Promise<void> {
  const child = Bun.spawn(words, {
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    // A session of its own, so that a signal reaches what the command has started.
    detached: true,
  });
  running.set(id, child);
  const drained = forward(id, child.stdout);
  const code = await child.exited;
  await Promise.race([drained, Bun.sleep(DRAIN_LIMIT_MS)]);
  running.delete(id);
  send({ kind: "exited", id, exitCode: code });
}

async function forward(id: number, stream: ReadableStream<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    const text = decoder.decode(bytes, { stream: true });
    if (text !== "") send({ kind: "output", id, text });
  }
}

function signal(id: number, name: NodeJS.Signals): void {
  const child = running.get(id);
  if (child === undefined) return;
  try {
    process.kill(-child.pid, constants.signals[name]);
  } catch {
    // It has ended by itself; its exit is on the way.
  }
}
