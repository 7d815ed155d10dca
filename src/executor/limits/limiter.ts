/** How the memory and the processes of hosts are bounded: one interface, by what the machine allows. */
import type { Excess } from "../../lease/lease.ts";
import type { Bounds } from "./bounds.ts";
import type { HostFiles } from "./scratch.ts";

export interface Limiter {
  readonly name: "cgroup2" | "cgroup1" | "watch";
  /** Takes a host in that has just been started, before it has loaded anything, with its files. Never throws. */
  hold(pid: number, files?: HostFiles): Held;
  /** The node ends: takes away what it has made on the machine. */
  close(): Promise<void>;
}

/** One host, from its start to its end. */
export interface Held {
  /** Resolves when it is held. Until then it must load no module. Never rejects. */
  readonly ready: Promise<void>;
  /** It is about to load a lease's module, or to go on with the lease's calls: what it has of its own before its first lease is the node's. */
  begin(bounds: Bounds): void;
  /** Which bound it has crossed, and when to look again. */
  look(): Look;
  /** Whether the kernel has ended it for what it had. Asked once it is gone. */
  postMortem(): Excess | undefined;
  /** It is gone, and all that it has started. */
  close(): void;
}

export interface Look {
  excess?: Excess | undefined;
  /** The next look is due so much later. */
  pauseMs: number;
}
