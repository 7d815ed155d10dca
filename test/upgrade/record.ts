/**
 * `bun test/upgrade/record.ts` writes `frames.json`: what the previous version says to itself, as bytes, one frame of each message and of
 * each set of its fields. To be run when `previous.json` names another commit.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { FrameReader, encodeFrame } from "../../src/protocol/frame.ts";
import { PREVIOUS, previousExecutable } from "../support/previous.ts";
import { until } from "../support/until.ts";
import { MixedCluster } from "./mixed-cluster.ts";

/** Who says it: to whom follows, but for a manager. */
export type Speaker =
  "client to node" | "node to client" | "to manager" | "manager to node" | "manager to client";
export interface RecordedFrames {
  version: string;
  /** Frames as base64, of each speaker. */
  frames: Record<Speaker, string[]>;
}

const said: Record<Speaker, Map<string, Uint8Array>> = {
  "client to node": new Map(),
  "node to client": new Map(),
  "to manager": new Map(),
  "manager to node": new Map(),
  "manager to client": new Map(),
};

/** Where a message has optional fields, there is more than one form of it. */
const formOf = (value: unknown): string => {
  if (value instanceof Uint8Array || value === null || typeof value !== "object")
    return value === null ? "null" : typeof value;
  if (Array.isArray(value)) return `[${value.length > 0 ? formOf(value[0]) : ""}]`;
  const fields = Object.entries(value).map(([name, field]) =>
    name === "t" ? String(field) : `${name}:${formOf(field)}`,
  );
  return fields.toSorted().join();
};

function keep(speaker: Speaker, parts: readonly Buffer[]): string[] {
  const kinds: string[] = [];
  for (const message of new FrameReader().push(Buffer.concat(parts))) {
    kinds.push((message as { t: string }).t);
    const form = formOf(message);
    if (!said[speaker].has(form)) said[speaker].set(form, encodeFrame(message));
  }
  return kinds;
}

/** The data of a lease over TCP comes to the same port, and begins in another way than a control frame. */
function isData(sent: readonly Buffer[]): boolean {
  try {
    const [first] = new FrameReader().push(Buffer.concat(sent));
    return typeof (first as { t?: unknown } | undefined)?.t !== "string";
  } catch {
    return true;
  }
}

const executable = await previousExecutable();
{
  await using cluster = await MixedCluster.start(executable, executable);
  for (const fabric of ["shm", "tcp"]) await cluster.call(executable, fabric, fabric);
  await cluster.list(executable);
  for (const command of ["drain", "resume"]) await cluster.operate(executable, command, "n1");
  // It is told that it has been drained by a node that still has a lease.
  const held = cluster.hold(executable);
  await until(
    () => cluster.manager.rows().some(({ ended_at_ms }) => ended_at_ms === null),
    "a lease",
  );
  cluster.node.kill("SIGTERM");
  await held;
  await cluster.node.exited;
  for (const { sent, received } of cluster.toNode.connections) {
    if (isData(sent)) continue;
    keep("client to node", sent);
    keep("node to client", received);
  }
  for (const { sent, received } of cluster.toManager.connections) {
    const [greeting] = keep("to manager", sent);
    keep(greeting === "announce" ? "manager to node" : "manager to client", received);
  }
}
const frames = Object.fromEntries(
  Object.entries(said).map(([speaker, forms]) => [
    speaker,
    [...forms.values()].map((frame) => Buffer.from(frame).toString("base64")),
  ]),
) as RecordedFrames["frames"];
const recorded: RecordedFrames = { version: PREVIOUS, frames };
writeFileSync(join(import.meta.dir, "frames.json"), `${JSON.stringify(recorded, null, 1)}\n`);
