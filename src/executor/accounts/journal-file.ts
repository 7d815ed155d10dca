/**
 * How a journal of bills lies on disk: a line for its run of the node, then one for each report, each with a checksum before it. What a
 * kill or a loss of power has left of a line is recognised, and skipped.
 */
import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { type Static, Type } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { distance, machineId } from "../../control/machine.ts";
import { UsageReport } from "../../protocol/manager-messages.ts";
import { FileLock } from "../../trust/file-lock.ts";
import { syncDirectory } from "../../trust/files.ts";

/** The end of the name of each journal. */
export const SUFFIX = ".bills";
/** Of one that is being written to take the place of another. */
export const NEXT_SUFFIX = ".next";

/** Whose bills they are, and for which manager. */
const Head = Type.Object({
  format: Type.Literal("rfaas-bills-1"),
  node: Type.String(),
  manager: Type.String(),
  instance: Type.String(),
  /** How many the run leased, by which the manager knows what it can have billed. */
  cores: Type.Integer({ minimum: 1 }),
  /** Its run holds the lock beside it for as long as it lives; left out, where files cannot be locked. */
  locked: Type.Optional(Type.Literal(true)),
  /** By these a later run knows, where there is no lock, whether the one that wrote it is over. */
  host: Type.String(),
  machine: Type.String(),
  pid: Type.Integer({ minimum: 1 }),
  processStart: Type.String(),
});
export type Head = Static<typeof Head>;

/** Compiled when the first journal is read: most starts of a node find none. */
let compiled: { head: TypeCheck<typeof Head>; report: TypeCheck<typeof UsageReport> } | undefined;
const checks = () =>
  (compiled ??= { head: TypeCompiler.Compile(Head), report: TypeCompiler.Compile(UsageReport) });

/** The head of a journal of this process. */
export function headOf(
  own: Pick<Head, "node" | "manager" | "instance" | "cores" | "locked">,
): Head {
  return {
    ...{ format: "rfaas-bills-1", ...own, host: hostname(), machine: machineId() },
    ...{ pid: process.pid, processStart: startOf(process.pid) ?? "" },
  };
}

/** Whether the process that wrote it, without a lock, is over; undefined for one of another machine, of which nothing is known here. */
export function isOver({ host, machine, pid, processStart }: Head): boolean | undefined {
  if (distance(machine, machineId()) !== "machine") return startOf(pid) !== processStart;
  // The machine has started again since.
  return host === hostname() ? true : undefined;
}

export const lineOf = (value: Head | UsageReport): string => {
  const text = JSON.stringify(value);
  return `${checksum(text)} ${text}\n`;
};

/** What a journal says; undefined where it has no head that can be read. */
export function parse(
  text: string,
): { head: Head; reports: UsageReport[]; damaged: number } | undefined {
  const { head: isHead, report: isReport } = checks();
  const [first, ...lines] = text.split("\n");
  const head = valueOf(first!);
  if (lines.length === 0 || !isHead.Check(head)) return undefined;
  // What follows the last line break is nothing, or a line that was never finished.
  let damaged = lines.pop() === "" ? 0 : 1;
  const newest = new Map<string, UsageReport>();
  for (const line of lines) {
    const report = valueOf(line);
    if (isReport.Check(report) && report.node === head.node) newest.set(report.lease, report);
    else damaged++;
  }
  return { head, reports: [...newest.values()], damaged };
}

/** The lock that a run holds beside its journal. Throws where files cannot be locked. */
export const takeLock = (journal: string): FileLock | undefined => FileLock.take(`${journal}.lock`);

/** An open file that begins with a head, in a folder that is there. Throws what the system says. */
export function makeJournal(path: string, head: string): number {
  const { O_CREAT, O_WRONLY, O_TRUNC, O_APPEND } = constants;
  const fd = openSync(path, O_CREAT | O_WRONLY | O_TRUNC | O_APPEND, 0o600);
  try {
    append(fd, head, 0);
    syncDirectory(dirname(path));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return fd;
}

/** All of it, or nothing: a disk that is full takes a part. */
export function append(fd: number, text: string, end: number): void {
  const bytes = Buffer.from(text);
  try {
    for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
  } catch (error) {
    ftruncateSync(fd, end);
    throw error;
  }
}

function valueOf(line: string): unknown {
  const text = line.slice(9);
  if (line.slice(0, 9) !== `${checksum(text)} `) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const checksum = (text: string): string => Bun.hash.crc32(text).toString(16).padStart(8, "0");

/** Since when a process runs, in the kernel's count: its number comes again. */
function startOf(pid: number): string | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    return line.slice(line.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}
