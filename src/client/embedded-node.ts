/** The node of a client that names none: a child process on this machine, for this client alone, gone when the client is. */
import { EnvironmentError, NodeUnreachable } from "../errors.ts";
import type { VerbsOptions } from "../fabric/offer.ts";
import { childEnvironment, selfCommand } from "../process.ts";
import type { FabricName } from "../protocol/messages.ts";
import { NodeConnection } from "./node-connection.ts";

export interface EmbeddedNodeOptions {
  /** Cores to lease; default: what affinity mask and cgroup leave. */
  cores?: number;
  memoryBytes?: number;
  /** Host processes kept ready; default 1. */
  prewarm?: number;
  fabric: FabricName;
  verbs: VerbsOptions;
}

const EXIT_GRACE_MS = 1_000;

export interface EmbeddedNode {
  connection: NodeConnection;
  /** Ends the node and waits for its process. */
  close(): Promise<void>;
}

/** Starts a private node. Throws {@link NodeUnreachable} when it does not come up. */
export async function startEmbeddedNode(options: EmbeddedNodeOptions): Promise<EmbeddedNode> {
  const args = ["__node", "--parent", String(process.pid)];
  if (options.cores !== undefined) args.push("--cores", String(options.cores));
  if (options.memoryBytes !== undefined) args.push("--memory", String(options.memoryBytes));
  if (options.prewarm !== undefined) args.push("--prewarm", String(options.prewarm));

  args.push("--fabric", options.fabric);
  if (options.fabric === "verbs") args.push(...verbsFlags(options.verbs));

  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => {});
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn(selfCommand(args), {
      stdio: ["ignore", 2, 2, "pipe"],
      env: childEnvironment(),
      onExit: (_, exitCode, signal) =>
        ended.reject(
          new NodeUnreachable(
            "private",
            `the private node ended (${signal ?? `exit code ${exitCode}`}); its messages are above`,
          ),
        ),
    });
  } catch (cause) {
    // Nothing was tried yet: the message says it all.
    if (cause instanceof EnvironmentError) throw new NodeUnreachable("private", cause.message);
    throw new NodeUnreachable(
      "private",
      `a private node cannot be started (${(cause as Error).message}); check RFAAS_EXECUTABLE and the limit on open files`,
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
    );
  } catch (error) {
    // A connection breaks a moment before its process is known to have ended; that says more.
    child.ref();
    const overdue = setTimeout(() => child.kill("SIGKILL"), EXIT_GRACE_MS);
    await child.exited;
    clearTimeout(overdue);
    throw child.signalCode === "SIGKILL" ? error : await ended.promise.catch((end: unknown) => end);
  }
  return {
    connection,
    async close() {
      await connection.close();
      child.ref();
      await child.exited;
    },
  };
}

function verbsFlags({ device, ibPort, gidIndex, inlineMax }: VerbsOptions): string[] {
  const flags: string[] = [];
  if (device !== undefined) flags.push("--device", device);
  if (ibPort !== undefined) flags.push("--ib-port", String(ibPort));
  if (gidIndex !== undefined) flags.push("--gid-index", String(gidIndex));
  if (inlineMax !== undefined) flags.push("--inline-max", String(inlineMax));
  return flags;
}
