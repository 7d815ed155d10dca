/** The node of a client that names none: a child process on this machine that serves this client alone and ends with it. */
import {
  EnvironmentError,
  NodeUnreachable,
  RfaasError,
  VersionMismatch,
} from "../../base/errors.ts";
import {
  type FabricName,
  type FabricOptions,
  fabricNamed,
  optionsOf,
} from "../../fabric/registry.ts";
import { flagsOf } from "../../options/flags.ts";
import { versionsDiffer } from "../../base/program/executable.ts";
import { roleEnvironment, selfCommand } from "../../base/process.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { VERSION } from "../../base/version.ts";
import { NodeConnection } from "./connection.ts";
import { ended as connectionEnded } from "./failures.ts";
import type { Patience } from "../../base/waiting.ts";

export interface EmbeddedNodeOptions {
  /** Cores to lease; default: what affinity mask and cgroup leave. */
  cores?: number;
  memoryBytes?: number;
  /** Host processes kept ready; default 1. */
  prewarm?: number;
  keptHosts?: number;
  sandbox?: string;
  fabric: FabricName;
  /** Options of the fabrics. */
  fabricOptions: FabricOptions;
}

export interface EmbeddedNode {
  connection: NodeConnection;
  /** Resolves when its process has exited after the connection was closed; kills a process that does not exit by itself. */
  ended(): Promise<void>;
}

/** A node ends its hosts before it exits; a node that takes longer than this hangs. */
const END_LIMIT_MS = 5000;

/** A node whose connection broke at start exits within this time. */
const EXIT_GRACE_MS = 1000;

/** Starts a private node. Throws {@link NodeUnreachable} when it does not start; its process has then exited. */
export async function startEmbeddedNode(
  options: EmbeddedNodeOptions,
  patience: Patience,
): Promise<EmbeddedNode> {
  const args = ["__node", "--parent", String(process.pid)];
  if (options.cores !== undefined) args.push("--cores", String(options.cores));
  if (options.memoryBytes !== undefined) args.push("--memory", String(options.memoryBytes));
  if (options.prewarm !== undefined) args.push("--prewarm", String(options.prewarm));
  if (options.keptHosts !== undefined) args.push("--kept-hosts", String(options.keptHosts));
  if (options.sandbox !== undefined) args.push("--sandbox", options.sandbox);
  args.push("--fabric", options.fabric);
  args.push(...flagsFor(options.fabric, options.fabricOptions));

  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  let child: Bun.Subprocess;
  let command: string[] = [];
  try {
    command = selfCommand(args);
    child = Bun.spawn(command, {
      stdio: ["ignore", 2, 2, "pipe"],
      env: roleEnvironment("__node"),
      onExit: (_, exitCode, signal) =>
        ended.reject(
          exitCode === 0
            ? connectionEnded("private", false)
            : new NodeUnreachable(
                "private",
                `the private node ended (${signal ?? `exit code ${exitCode}`}); its messages are above`,
              ),
        ),
    });
  } catch (cause) {
    // No process was started yet: the message needs no more.
    if (cause instanceof EnvironmentError) throw new NodeUnreachable("private", cause.message);
    if (cause instanceof RfaasError) throw cause;
    const allow =
      (cause as NodeJS.ErrnoException).code === "EACCES"
        ? "run chmod +x on it, where its file system is not mounted noexec, or "
        : "";
    throw new NodeUnreachable(
      "private",
      `a private node cannot be started from ${command[0]}: ${reasonOf(cause)}; ${allow}let RFAAS_EXECUTABLE name the rfaas executable`,
      { cause },
    );
  }
  child.unref();
  let connection: NodeConnection;
  try {
    connection = await NodeConnection.adopt(
      child.stdio[3] as unknown as number,
      [options.fabric],
      ended.promise,
      patience,
    );
  } catch (error) {
    // The connection breaks a moment before the exit of the process is known, and the exit status says more.
    await ending(child, patience.signal?.aborted ? 0 : EXIT_GRACE_MS);
    // One that ended as it should did so because we have closed the connection: then the error says why.
    if (child.signalCode === "SIGKILL" || child.exitCode === 0) throw error;
    return await ended.promise;
  }
  // Protocols may agree where versions differ, but a program and its own node are of one version.
  const { version } = connection.welcome;
  if (version !== VERSION) {
    await connection.close();
    await ending(child, END_LIMIT_MS);
    throw new VersionMismatch(versionsDiffer(version, VERSION));
  }
  return {
    connection,
    ended: () => ending(child, END_LIMIT_MS),
  };
}

/** Resolves when the process has exited; kills it when that takes too long. */
async function ending(child: Bun.Subprocess, limitMs: number): Promise<void> {
  child.ref();
  const overdue = setTimeout(() => child.kill("SIGKILL"), limitMs);
  await child.exited;
  clearTimeout(overdue);
}

/** The fabric's options as the command line has them. */
function flagsFor(fabric: FabricName, all: FabricOptions): string[] {
  const chosen = fabricNamed(fabric)!;
  const options = optionsOf(chosen, all);
  return (chosen.options ? flagsOf(chosen.options) : []).flatMap(({ name, long }) => {
    const value = options[name];
    return value === undefined ? [] : [`--${long}`, String(value)];
  });
}
