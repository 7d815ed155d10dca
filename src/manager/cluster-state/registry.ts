/** Where managers may keep what they share: to add a place, add its folder and a line here. */
import { UsageError } from "../../base/errors.ts";
import { Alone } from "./alone/alone.ts";
import type { ClusterState, StateOptions } from "./cluster-state.ts";
import type { EtcdOptions } from "./etcd/place.ts";

/** By the scheme of its URL; what it needs is loaded by a manager that has it. */
const KINDS: Readonly<
  Record<string, (url: string, options: SharedOptions) => Promise<ClusterState>>
> = {
  etcd: async (url, options) => {
    const [{ readPlace }, { EtcdState }] = await Promise.all([
      import("./etcd/place.ts"),
      import("./etcd/etcd.ts"),
    ]);
    return await EtcdState.open(readPlace(url, options), options);
  },
};

export interface SharedOptions extends StateOptions, EtcdOptions {}

/**
 * What a manager shares at this URL, or keeps alone where there is none.
 *
 * @throws {UsageError} the URL is none of a registry
 * @throws {EnvironmentError} the state directory is of another cluster than the registry, or lacks what only its operator can give it
 */
export async function clusterStateAt(
  url: string | undefined,
  options: SharedOptions,
): Promise<ClusterState> {
  if (url === undefined) return new Alone();
  const kind = KINDS[/^([a-z]+):\/\//.exec(url)?.[1] ?? ""];
  if (kind) return await kind(url, options);
  throw new UsageError(
    `--registry takes ${Object.keys(KINDS).join(", ")}://HOST:PORT[,HOST:PORT][/PREFIX]; correct it`,
  );
}
