/**
 * The seam of sandboxes: how the process of a lease, its host, is started, in which room, and how it is ended. A driver knows one way
 * to make a room; the agent knows none.
 */
import type { Finding } from "../../base/finding.ts";
import type { Excess } from "../../lease/lease.ts";
import type { Right } from "./users/rights.ts";

/** What a room keeps its functions from. Any of several layers may hold a guard. */
export const GUARDS = [
  ...(["files", "processes", "sockets", "programs", "memory", "descriptors"] as const),
] as const;
export type Guard = (typeof GUARDS)[number];

/** What a node lets leases ask for. By default nothing. */
export interface Freedoms {
  readonly network?: boolean | undefined;
  readonly processes?: boolean | undefined;
}

/** A room's terms: what one lease, or the node, allows in it. */
export interface RoomTerms {
  /** Functions may open connections. */
  readonly network: boolean;
  /** Functions may start programs. */
  readonly processes: boolean;
  /** What the operator lets functions read, besides their package and the system's libraries. */
  readonly readPaths: readonly string[];
  /** What the lease adds to the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** The root of the file system: a path, or what the driver's own program calls it. Left out, the node's own. */
  readonly image?: string;
  /** The host is to become another user when its lease begins, and keeps the right to until then. */
  readonly becomesUser?: true;
  /** For all that the lease has besides its registered memory. Left out, the node's rule. */
  readonly heapBytes?: number;
}

/** The folders of a room, as the agent sees them. */
export interface RoomFolders {
  /** What the lease loads: the agent links its files into it; the host reads. */
  readonly package: string;
  /** The host's own: its HOME, and its TMPDIR. */
  readonly scratch: string;
  /** Where the agent hands the host what it does not inherit, if it does not. */
  readonly handed?: string;
}

/** How a host ended. */
export interface HostExit {
  exitCode: number | null;
  signal: string | null;
  /** All CPU time of its life, and of what it started, as the kernel counted it. */
  cpuNs: number | undefined;
  /** The bound for which the kernel has ended it. */
  excess?: Excess | undefined;
}

export interface HostStart {
  /**
   * The host's command line. `parentPid` is the process with which the host is to end, as the host sees it, and which must be its parent;
   * 0 where the driver sees to it that the host does not outlive the agent. `handed` is the folder in which the host finds its descriptors
   * and the shim (`containers/handed.ts`), as it sees that, where it inherits none.
   */
  command(parentPid: number, handed?: string): readonly string[];
  /** All of the host's environment. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The host's descriptors from 3 on: a socket whose other end the agent gets, or what the agent has open, which stays the agent's. */
  readonly descriptors: readonly ("pipe" | number)[];
  /** The host's descriptors 1 and 2, which stay the agent's: what functions print is not data. */
  readonly output: number;
  readonly terms: RoomTerms;
  /** Undefined for a driver without {@link SandboxDriver.rooms}. */
  readonly folders: RoomFolders | undefined;
  /** Files and folders that the program itself is made of: the host must be able to read them. */
  readonly program: readonly string[];
  /** The host is gone, with all that it started. Called once. */
  onExit(exit: HostExit): void;
}

export interface StartedHost {
  /** The host's, as the agent sees it. Asked for after the host has said that it is ready. */
  readonly pid: number;
  /** The agent's end of the host's descriptor 3. */
  readonly control: number;
  /** Takes note of the CPU time that the host has used, where its end does not tell it. */
  meter?(): void;
  /** Ends the host at once, also one that is being started; {@link HostStart.onExit} tells when it is gone. */
  kill(): void;
}

export interface SandboxDriver {
  /** As `--sandbox` names it. */
  readonly name: string;
  /** Its hosts have folders of their own. Without, they load packages where the node keeps them. */
  readonly rooms: boolean;
  /**
   * What a lease may name as the root of its file system: `"folders"` of the operator's, `"names"` of images that the driver's own program
   * knows, `"named"` for both, or nothing.
   */
  readonly images: "none" | "folders" | "names" | "named";
  /** Its hosts have a network of their own, with nothing in it, unless their terms give them the node's. */
  readonly ownNetwork?: boolean;
  /** The host takes away from itself, before it loads a module, the system calls that its terms do not allow. */
  readonly seals?: boolean;
  /** The folders of a room of these terms, as its host sees them. */
  inside?(folders: RoomFolders, terms: RoomTerms): RoomFolders;
  /** Its hosts can become other users, whom all else of a room lets reach its folders. */
  readonly users?: true;
  /** The capabilities that this takes besides those of the agent itself. */
  readonly usersTake?: readonly Right[];
  /** Why they cannot on this machine, with root and these; undefined when they can. Throws {@link EnvironmentError} as well. */
  whyNoUsers?(): string | undefined;
  /** File systems in memory that each host has of its own, its scratch folder first where that is one, as the host sees them. Left out, it has none. */
  inMemory?(inside: RoomFolders): readonly string[];
  /** Why it cannot be used on this machine, and what would let it; undefined when it can. */
  whyNot(): Finding | undefined;
  /** Why it cannot give a host this variable; undefined when it can. Left out, it gives every one. */
  whyNotPassed?(name: string, value: string): string | undefined;
  /** The guards that it holds on this machine where leases may have this, each with the layer that does. */
  guards(allowed?: Freedoms): ReadonlyMap<Guard, string>;
  /** What the end of a host means that was never ready, if the driver knows more of it; after "the host process did not start: it ..". */
  explain?(exit: HostExit, terms: RoomTerms): string | undefined;
  /** What of this machine would let it hold a guard that it does not hold. */
  readonly wouldHold?: Readonly<Partial<Record<Guard, string>>>;
  /**
   * Starts a host.
   *
   * @throws when the machine has no descriptors, processes or memory for it
   */
  start(options: HostStart): StartedHost;
}
