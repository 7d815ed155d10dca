import { statSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { type Address, defaultAddress, formatAddress } from "../control/address.ts";
import { UsageError } from "../base/errors.ts";
import { Agent } from "../executor/agent/agent.ts";
import { Bookkeeper } from "../executor/accounts/bookkeeper.ts";
import { planCpus } from "../executor/machine/cores.ts";
import { Doorkeeper } from "../executor/admission/identity.ts";
import { listen } from "../executor/admission/listen.ts";
import { defaultOffer, excesses, machineLimits } from "../executor/machine/limits.ts";
import { ModuleWatch } from "../executor/packages/module-watch.ts";
import { PackageStore } from "../executor/packages/store.ts";
import { offerFabrics } from "../fabric/registry.ts";
import { MAX_NODE_NAME_CHARACTERS, NODE_NAME_PATTERN } from "../protocol/manager-messages.ts";
import { formatBytes } from "../base/units.ts";
import type { Command } from "./shared/command.ts";
import { log } from "./shared/log.ts";
import { fabricFlags, fabricOptions, readFabric } from "./shared/fabric-options.ts";
import {
  addressOption,
  bytesOption,
  duration,
  durationOption,
  flag,
  polling,
  readOptions,
  size,
  tcpAddressOption,
  text,
  whole,
} from "./shared/options.ts";
import {
  packageFlags,
  packageOptions,
  packageTerms,
  readPackageOptions,
} from "./shared/package-options.ts";

const Options = Type.Object({
  cores: Type.Optional(whole(1, 1024)),
  memory: Type.Optional(size),
  listen: Type.Optional(text),
  polling: Type.Optional(polling),
  prewarm: Type.Optional(whole(0, 1024)),
  drain: Type.Optional(duration),
  allowRemote: Type.Optional(flag),
  tokenKey: Type.Optional(text),
  manager: Type.Optional(text),
  name: Type.Optional(text),
  advertise: Type.Optional(text),
  cache: Type.Optional(text),
  cacheLimit: Type.Optional(size),
  packageLimit: Type.Optional(size),
  watch: Type.Optional(text),
  ...packageOptions,
  ...fabricOptions,
});

const DEFAULT_DRAIN_MS = 30_000;
const MAX_DRAIN_MS = 86_400_000;

export const serve: Command = {
  usage: "serve",
  summary: "run an executor node",
  description: `Owns cores and memory of this machine, grants leases on them, and runs the functions of whoever holds one. Runs until
SIGTERM or SIGINT, then grants no more leases, lets the present ones end, and exits; a second signal ends them at once.

Only the owner of the socket may connect. Over TCP, programs of the same user may that come over loopback, and whoever has a token
that was signed with the key of the manager, or of --token-key. With --allow-remote and no key the network is trusted: whoever reaches
the port runs functions as the node's user.

With --manager the node tells a manager that it is there, what it has free and what its leases cost, and is drained and resumed
from there. It grants leases itself, whether the manager runs or not. RFAAS_TOKEN is the node's own token, where one is asked for.

Functions come as packages: clients send what the node has not got, and it keeps them in a cache, which nodes of one user may
share. With --watch, for development, leases of that file go over to what it has become whenever it, or what it imports, changes.

What functions start, threads and child processes, runs on the cores of their worker: one, or as many as the lease asks for with
coresPerWorker (--cores-per-worker), which are set aside and billed. OpenMP, BLAS, nproc and navigator.hardwareConcurrency see so many.

Calls from this machine go through shared memory, calls from others over RDMA, on every active port that has an IP address.`,
  options: [
    {
      flag: "--cores <n>",
      description: "cores to lease (default: what affinity mask and cgroup leave)",
    },
    {
      flag: "--memory <size>",
      description: "memory to lease (default: half of what the machine and its cgroup leave)",
    },
    {
      flag: "--listen <address>",
      description: "socket path or HOST:PORT (default: a socket in $XDG_RUNTIME_DIR or /tmp)",
    },
    {
      flag: "--polling <mode>",
      description: "hot, warm or adaptive, for leases that do not say (default: adaptive)",
    },
    { flag: "--prewarm <n>", description: "host processes to keep ready (default: 1)" },
    {
      flag: "--drain <duration>",
      description:
        "how long leases may go on after the first signal, as 5m or in seconds (default: 30s)",
    },
    { flag: "--allow-remote", description: "serve clients on other machines, whoever they are" },
    { flag: "--token-key <file>", description: "public key that tokens must be signed with" },
    { flag: "--manager <address>", description: "HOST:PORT of the manager to join" },
    { flag: "--name <name>", description: "the node's name in the cluster (default: the host's)" },
    {
      flag: "--advertise <address>",
      description: "where clients find the node (default: what --listen says)",
    },
    {
      flag: "--cache <folder>",
      description: "where packages are kept (default: $XDG_CACHE_HOME/rfaas or ~/.cache/rfaas)",
    },
    {
      flag: "--cache-limit <size>",
      description: "for all packages; the longest unused go first (default: 8GiB)",
    },
    { flag: "--package-limit <size>", description: "for one package (default: 1GiB)" },
    { flag: "--watch <file>", description: "let leases of this module follow its changes" },
    ...packageFlags.map(({ flag, description }) => ({
      flag,
      description: `with --watch: ${description}`,
    })),
    ...fabricFlags,
  ],
  examples: [
    ["rfaas serve", "serve on the default socket"],
    ["rfaas serve --cores 4 --memory 8GiB --listen /run/rfaas/node.sock", "with limits, elsewhere"],
    ["rfaas serve --watch fn.ts", "edit fn.ts while a program calls it"],
    ["rfaas serve --listen 10.0.0.5:7700 --allow-remote --fabric verbs", "for a cluster with RDMA"],
  ],
  terms: packageTerms,
  async run(args, raw) {
    if (args.length > 0)
      throw new UsageError(`serve takes no argument "${args[0]}"; see: rfaas help serve`);
    const options = readOptions(Options, raw);
    const limits = machineLimits();
    const usual = defaultOffer(limits);
    const cores = options.cores ?? usual.cores;
    const memoryBytes = bytesOption("--memory", options.memory) ?? usual.memoryBytes;
    const address = addressOption("--listen", options.listen) ?? defaultAddress();
    const limitMs =
      durationOption("--drain", options.drain, {
        bare: "s",
        minimumMs: 0,
        maximumMs: MAX_DRAIN_MS,
      }) ?? DEFAULT_DRAIN_MS;

    const advertised = addressOption("--advertise", options.advertise);

    const { fabric, verbs } = readFabric(options);
    const fabrics = offerFabrics(fabric, verbs);
    // Before anything is started for nothing.
    if (options.manager !== undefined) {
      tcpAddressOption("--manager", options.manager);
      nodeName(options.name);
    }
    const doorkeeper = new Doorkeeper(options.allowRemote ?? false);
    if (options.tokenKey !== undefined) doorkeeper.readKey(String(options.tokenKey));
    const packages = new PackageStore({
      folder: options.cache === undefined ? undefined : resolve(String(options.cache)),
      limitBytes: bytesOption("--cache-limit", options.cacheLimit),
      packageLimitBytes: bytesOption("--package-limit", options.packageLimit),
    });
    // A folder that is named must be of use; without any other, the node can still serve what it has built in.
    if (options.cache !== undefined) void packages.folder;
    const watched = options.watch === undefined ? undefined : resolve(String(options.watch));
    const packaging = readPackageOptions(options);
    if (watched === undefined && Object.keys(packaging).length > 0)
      throw new UsageError("--include and --external are for --watch; clients say what they send");
    if (watched !== undefined && !statSync(watched, { throwIfNoEntry: false })?.isFile())
      throw new UsageError(`--watch: there is no file ${watched}; name a module`);
    const agent = new Agent({
      packages,
      identify: (token, trusted) => doorkeeper.identify(token, trusted),
      fabrics,
      cpus: planCpus(cores, limits.cpus),
      memoryBytes,
      polling: options.polling ?? "adaptive",
      prewarm: options.prewarm ?? 1,
      log: (level, message) => log[level](message),
    });
    let listener: Awaited<ReturnType<typeof listen>>;
    try {
      listener = await listen(address, (way) => agent.newClient(undefined, way));
    } catch (error) {
      await agent.drain(0);
      throw error;
    }
    let bookkeeper: Bookkeeper | undefined;
    let signals = 0;
    const onSignal = (signal: string) => {
      if (++signals > 1) return agent.stop();
      listener.stop();
      const leases = agent.leaseCount;
      log.info(
        `${signal}: ${leases === 0 ? "no leases, stopping" : `waiting for ${leases} leases, at most ${limitMs / 1000} s; again to stop now`}`,
      );
      void agent
        .drain(limitMs)
        .then(() => bookkeeper?.leave())
        .then(() => process.exit(0));
    };
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    const over = [
      ...(fabrics.shm ? ["shm"] : []),
      ...(fabrics.verbs ? [`verbs (${fabrics.verbs.addresses.join(", ")})`] : []),
    ];
    log.info(
      `serving ${cores} cores and ${formatBytes(memoryBytes)} at ${listener.address} over ${over.join(" and ")}`,
    );
    log.info(
      `cores: ${options.cores === undefined ? limits.cores.from : "as --cores says"}; memory: ${options.memory === undefined ? `half of ${formatBytes(limits.memoryBytes.value)}, ${limits.memoryBytes.from}` : "as --memory says"}`,
    );
    for (const excess of excesses({ cores, memoryBytes }, limits)) log.warn(excess);
    log.info(
      `reach it with: rfaas invoke FILE.ts --node ${listener.address}   or   RFAAS_NODE=${listener.address}`,
    );

    if (watched !== undefined)
      new ModuleWatch(watched, packaging, packages, {
        built: (hash) => agent.reload(watched, hash),
        log: (level, message) => log[level](message),
      }).start();

    if (options.manager !== undefined)
      bookkeeper = new Bookkeeper(agent, doorkeeper, {
        manager: String(options.manager),
        name: nodeName(options.name),
        address: advertised ? formatAddress(advertised) : reachable(address, listener.address),
        memoryBytes,
        fabrics: [...(fabrics.shm ? ["shm"] : []), ...(fabrics.verbs ? ["verbs"] : [])],
        removalLimitMs: limitMs,
        log: (level, message) => log[level](message),
      });
  },
};

/** A node that listens everywhere is found by its machine's name. */
function reachable(asked: Address, listening: string): string {
  const everywhere = asked.kind === "tcp" && ["0.0.0.0", "::"].includes(asked.host);
  return everywhere ? `${hostname()}:${/\d+$/.exec(listening)![0]}` : listening;
}

function nodeName(given: string | number | undefined): string {
  const name = String(given ?? hostname());
  if (name.length > MAX_NODE_NAME_CHARACTERS || !new RegExp(NODE_NAME_PATTERN).test(name))
    throw new UsageError(
      `--name must be 1 to ${MAX_NODE_NAME_CHARACTERS} letters, digits or . _ : -; it is "${name}"`,
    );
  return name;
}
