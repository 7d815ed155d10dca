/** What a program can ask of `invoker`: of one node, or of a cluster. */
import { type Static, Type } from "@sinclair/typebox";
import { DEFAULT_CONNECT_TIMEOUT_MS } from "../../base/waiting.ts";
import { fabricFields } from "../../fabric/registry.ts";
import {
  MAX_TIMER_MS,
  address,
  callback,
  milliseconds,
  signalField,
  size,
  tcpAddresses,
  text,
  texts,
  truth,
  whole,
} from "../../options/fields.ts";

const MAX_NODE_CORES = 1024;
const MAX_MEMORY_BYTES = 2 ** 50;

/** For a node and for a cluster. */
const connecting = {
  ...fabricFields,
  /** A token of the manager or the node's owner, where one is asked for. Default: `$RFAAS_TOKEN`. */
  token: Type.Optional(
    text("a token, as rfaas token create prints it", {
      description: "who asks, where the node or its manager wants to know",
      variable: "RFAAS_TOKEN",
    }),
  ),
  /** A file with such a token, read again when it changes: leases go on by a newer one of the same user and key. Default: `$RFAAS_TOKEN_FILE`. */
  tokenFile: Type.Optional(
    text("a file", {
      description: "a file with such a token, read again when it changes",
      variable: "RFAAS_TOKEN_FILE",
      placeholder: "file",
    }),
  ),
  /** Gives a newer token of the same user and key, asked for before the present one expires. */
  renewToken: Type.Optional(
    callback<() => string | Promise<string>>({
      description: "gives a newer token before the present one expires",
    }),
  ),
  /** How long a node or a manager may take to be reached and to greet. Default 10 s. */
  connectTimeoutMs: Type.Optional(
    milliseconds(1, MAX_TIMER_MS, {
      description: "how long a node or a manager may take to be reached and to greet",
      default: DEFAULT_CONNECT_TIMEOUT_MS,
    }),
  ),
  /** Connects in clear to what is not on this machine, and sends it no token; for a network that you trust. Default: `$RFAAS_INSECURE`. */
  insecure: Type.Optional(
    truth({
      description: "connect in clear to what is not on this machine, and send it no token",
      variable: "RFAAS_INSECURE",
      default: false,
    }),
  ),
  ...signalField,
};

export const InvokerOptions = Type.Object(
  {
    /** A node's socket path, `HOST:PORT`, or `rfaas://HOST:PORT?key=sha256:HEX`. Default: `$RFAAS_NODE`, else a private node on this machine. */
    node: Type.Optional(
      address({
        description: "the node's socket path or HOST:PORT",
        variable: "RFAAS_NODE",
        otherwise: "a private one",
      }),
    ),
    /** Private node: cores to lease. Default: what the affinity mask and the cgroup of this process leave. */
    cores: Type.Optional(
      whole(1, MAX_NODE_CORES, {
        description: "cores to lease of a private node",
        otherwise: "what affinity mask and cgroup leave",
      }),
    ),
    /** Private node: memory to lease, such as `"2GiB"`. Default: half of what machine and cgroup leave. */
    memory: Type.Optional(
      size(MAX_MEMORY_BYTES, "1 PiB", {
        description: "memory to lease of a private node",
        otherwise: "half of what the machine and its cgroup leave",
      }),
    ),
    /** Private node: host processes kept ready. Default 1. */
    prewarm: Type.Optional(
      whole(0, 1024, { description: "host processes that a private node keeps ready", default: 1 }),
    ),
    /** Private node: host processes that are kept with their module, for leases with `keepWarmMs`, at most. Default: as many as cores. */
    keptHosts: Type.Optional(
      whole(0, 1024, {
        description: "host processes that a private node keeps with their module, at most",
        otherwise: "as many as cores",
      }),
    ),
    /**
     * Private node: what keeps functions apart from the rest of the machine: a sandbox as `rfaas serve --sandbox` has it, or `"none"`.
     * Default: `$RFAAS_SANDBOX`, else the node's.
     */
    sandbox: Type.Optional(
      text("the name of a sandbox, such as none", {
        description: "what keeps the functions of a private node apart",
        variable: "RFAAS_SANDBOX",
        otherwise: "the node's",
        placeholder: "name",
      }),
    ),
    ...connecting,
  },
  { title: "A node", call: "invoker(options)" },
);
export type InvokerOptions = Static<typeof InvokerOptions>;

export const ManagedClusterOptions = Type.Object(
  {
    /**
     * `HOST:PORT` of the manager, which knows the nodes, or `rfaas://HOST:PORT?ca=sha256:HEX`, as its log says it. Where one stands by
     * for another, both, with a comma between: the one that leads is followed.
     */
    manager: tcpAddresses("HOST:PORT of a manager, or of several with commas between", {
      description: "HOST:PORT of the manager, or of several with commas between",
    }),
    ...connecting,
  },
  { title: "A cluster with a manager", call: "invoker(options)" },
);

export const ListedClusterOptions = Type.Object(
  {
    /** No manager: the path of a list such as `nodes.json`, or the addresses themselves. */
    nodes: Type.Union(
      [
        text("a path", { description: "the path of a list of nodes" }),
        texts("an address", { description: "the nodes' addresses" }),
      ],
      {
        description: "the path of a list of nodes, or their addresses",
        errorMessage: "must be the path of a list of nodes, or a list of addresses",
      },
    ),
    ...connecting,
  },
  { title: "A cluster of listed nodes", call: "invoker(options)" },
);

export type ClusterOptions =
  | (Static<typeof ManagedClusterOptions> & { nodes?: undefined })
  | (Static<typeof ListedClusterOptions> & { manager?: undefined });
