/** What a process may do to itself: stay on a core, bound its memory, read the cycle counter. */
import { check } from "./errors.ts";
import { native } from "./library.ts";

/** A descriptor that becomes readable when the process ends. */
export function openPidfd(pid: number): number {
  return check("opening the host's pidfd", native().rfaas_pidfd_open(pid));
}

/** Pins the calling thread to one CPU, or with -1 to none. Returns false where the system forbids it. */
export function pinThread(cpu: number): boolean {
  return native().rfaas_pin_thread(cpu) === 0;
}

/**
 * Restricts a thread of this process, by default the calling one, to some CPUs, and what it starts from then on; to none in
 * particular with an empty list. Returns false where the system forbids it, or the thread is gone.
 */
export function restrictThread(cpus: readonly number[], thread = 0): boolean {
  const list = new Int32Array(new ArrayBuffer(4 * Math.max(1, cpus.length)));
  list.set(cpus);
  return native().rfaas_set_affinity(thread, list, cpus.length) === 0;
}

/** Lets the threads that the engine has started for itself run anywhere; those of functions stay where they are. */
export function freeEngineThreads(): void {
  native().rfaas_free_engine_threads();
}

/** Takes a variable away from native code of this process. Before it starts threads. */
export function clearNativeEnvironment(name: string): void {
  check(`clearing ${name}`, native().rfaas_set_environment(Buffer.from(`${name}\0`), null));
}

/** Sets a variable that was not set before, for native code of this process. */
export function setNativeEnvironment(name: string, value: string): void {
  const [nameBytes, valueBytes] = [Buffer.from(`${name}\0`), Buffer.from(`${value}\0`)];
  check(`setting ${name}`, native().rfaas_set_environment(nameBytes, valueBytes));
}

/**
 * CPU time that all threads of a process have used, those that have ended included; undefined once the process is gone. It is one
 * question to the kernel: threads come and go while they are added up.
 */
export function cpuTimeNs(pid: number): number | undefined {
  const ns = native().rfaas_cpu_time(pid);
  return ns < 0 ? undefined : ns;
}

const NO_NAME = -2;

/** What has come of a claim to a CPU. */
export interface CpuClaim {
  /** Another node has it, or this process has no descriptor left to claim it with. */
  taken: boolean;
  /** Holds it against all other nodes of this machine until it is closed; -1 where it is not held. */
  fd: number;
  /** Another user holds a name of it and does not run there, which does not count. -1 is one of whom the kernel says nothing. */
  stranger?: { uid: number; pid: number };
}

/** Claims a CPU among all nodes of this machine. */
export function claimCpu(cpu: number): CpuClaim {
  const out = new Int32Array(new ArrayBuffer(8));
  const fd = native().rfaas_claim_cpu(cpu, out);
  const [uid, pid] = out as unknown as [number, number];
  const claim = { taken: fd < 0 && fd !== NO_NAME, fd: Math.max(fd, -1) };
  return pid === -1 ? claim : { ...claim, stranger: { uid, pid } };
}

/** CPUs that this process may use, ascending. Respects taskset, numactl and batch systems. */
export function usableCpus(): number[] {
  const cpus = new Int32Array(new ArrayBuffer(4 * 1024));
  return [
    ...cpus.subarray(0, check("reading the CPU set", native().rfaas_affinity(cpus, cpus.length))),
  ];
}

/** Threads that this one starts from now on gain no privileges by set-user-id programs. */
export function forbidPrivileges(): void {
  check("forbidding new privileges", native().rfaas_forbid_privileges());
}

/**
 * SIGTERM, SIGINT and SIGHUP do nothing to this process from now on, however busy its threads are. What it starts has the defaults. A
 * listener of the runtime for one of them takes its place.
 */
export function outlastSignals(): void {
  check("catching signals", native().rfaas_outlast_signals());
}

/** No other process of this user can read this one's memory from now on, or take its descriptors. What it starts is as others are. */
export function hideProcess(): void {
  check("hiding the process", native().rfaas_hide());
}

/**
 * Overwrites a secret in the arguments and the environment that this process was started with, which the system shows to other
 * processes of the user, arguments to all. Variables that JavaScript has read keep what they have. Returns how often it was there.
 */
export function forgetSecret(secret: string): number {
  return check("forgetting a secret", native().rfaas_forget(Buffer.from(`${secret}\0`)));
}

/** This process dumps no core, and is first in line for the kernel's out-of-memory killer: what it holds is a tenant's, or nothing. */
export function standFirst(): void {
  check("turning core dumps off", native().rfaas_stand_first());
}

/** What native code prints by the C library leaves this process with each line, though its standard output is no terminal. */
export function printLines(): void {
  native().rfaas_print_lines();
}

/** The calling thread, for {@link restrictThread}. */
export function thisThread(): number {
  return native().rfaas_thread();
}

/** Bounds this process's private memory to its present size plus `bytes`, and its descriptors to `files`; each process that it starts has these, too. */
export function confine(bytes: number, files: number): void {
  check("confining the host process", native().rfaas_confine(bytes, files));
}

/** The locked-memory limit in bytes; Infinity when there is none. */
export function memlockLimitBytes(): number {
  return check("reading the memlock limit", native().rfaas_memlock_limit());
}

/** The process and the user at the other end of a connected Unix socket, as this process sees them. Throws {@link NativeError}. */
export function peerOf(fd: number): { pid: number; uid: number } {
  const out = new Int32Array(new ArrayBuffer(8));
  check("asking who is at a socket", native().rfaas_peer_process(fd, out));
  return { pid: out[0]!, uid: out[1]! >>> 0 };
}

/**
 * The user who opened the other end of a connected socket: of a Unix socket, or of TCP over loopback in this network namespace.
 * Undefined where the kernel does not vouch for one. One that has no number in this user namespace has the kernel's overflow id.
 */
export function peerUid(fd: number): number | undefined {
  const uid = native().rfaas_peer_uid(fd);
  return uid < 0 ? undefined : uid;
}

/** The first bytes that wait at a connected socket, `limit` at most, which stay there. */
export function peekBytes(fd: number, limit: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(limit));
  return bytes.subarray(0, native().rfaas_peek(fd, bytes, limit));
}

/**
 * Lets a TCP listener accept a connection when the peer has said something, or has been silent for about a second. Returns whether the
 * kernel does so; without it, a connection is accepted before anything can have come.
 */
export function acceptSpoken(listener: number): boolean {
  return native().rfaas_accept_spoken(listener) === 0;
}

/** One end of a TCP connection: a numeric address, without a scope. */
export interface TcpEnd {
  address: string;
  port: number;
}

/** As {@link peerUid}, of a TCP connection of this process by its two ends, where no descriptor is at hand. */
export function peerUidAt(peer: TcpEnd, own: TcpEnd): number | undefined {
  const text = ({ address }: TcpEnd): Buffer => Buffer.from(`${address}\0`);
  const uid = native().rfaas_peer_uid_at(text(peer), peer.port, text(own), own.port);
  return uid < 0 ? undefined : uid;
}

/** Cycle counter ticks per nanosecond. */
export function ticksPerNs(): number {
  return native().rfaas_tick_rate();
}

/** Whether the cycle counter runs at one speed at all times, so that it can be used as a clock. */
export function ticksInvariant(): boolean {
  return native().rfaas_ticks_invariant() !== 0;
}

/** The low 32 bits of the cycle counter, as a function that a hot loop can hold. */
export function tickCounter(): () => number {
  return native().rfaas_ticks;
}
