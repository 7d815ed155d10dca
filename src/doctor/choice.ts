/** Which fabric a lease of a node takes, and why not another one. Pure: the command asks both sides. */
import type { Fabric } from "../fabric/fabric.ts";
import {
  type FabricChoice,
  type FabricName,
  type Survey,
  chooseFabric,
  fabrics,
  isNamed,
} from "../fabric/registry.ts";

/** Why a fabric is not taken: a clause, and what to do where something can be done. */
export interface Obstacle {
  reason: string;
  fix?: string;
}

export interface Verdict {
  name: FabricName;
  title: string;
  /** `possible`: both sides have it, and a lease takes it when it is asked for. */
  state: "taken" | "possible" | "impossible";
  /** None of the one that is taken. */
  obstacles: Obstacle[];
}

export interface Sides {
  /** Of all fabrics, on this machine. */
  here: Survey;
  /** Those that a client looks at although none is asked for. */
  unasked: readonly string[];
  /** The fabric that is asked for, and the flag that does: its name's, or one of its own. */
  wanted: { name: FabricChoice; by: string } | undefined;
  /** As the node says it of this client. */
  node: {
    readonly offered: readonly string[];
    readonly withheld: readonly (Obstacle & { name: string })[];
  };
}

/** A verdict for each fabric, the best first. */
export function verdictsOf(sides: Sides): Verdict[] {
  const { here, unasked, wanted, node } = sides;
  const shared = here.offers
    .map(({ fabric }) => fabric)
    .filter(({ name }) => node.offered.includes(name));
  const eligible = shared.filter(
    (fabric) => isNamed(fabric, wanted?.name) || unasked.includes(fabric.name),
  );
  const taken = chooseFabric(
    eligible.map(({ name }) => name),
    wanted?.name,
  );
  let passed = false;
  return fabrics.map((fabric) => {
    const { name, title } = fabric;
    if (name === taken) {
      passed = true;
      return { name, title, state: "taken", obstacles: [] };
    }
    const has = shared.some((one) => one.name === name);
    if (!has || (wanted && !isNamed(fabric, wanted.name)))
      return { name, title, state: "impossible", obstacles: obstaclesTo(fabric, sides) };
    const reason = passed
      ? `both sides have it, and a lease takes ${taken}, which is better`
      : "both sides have it, and a lease takes it only when it is asked for";
    return { name, title, state: "possible", obstacles: [{ reason, fix: `--fabric ${name}` }] };
  });
}

function obstaclesTo(asked: Fabric<FabricName>, { here, wanted, node }: Sides): Obstacle[] {
  const { name } = asked;
  const obstacles: Obstacle[] = [];
  const own = here.withheld.find(({ fabric }) => fabric.name === name);
  if (own?.lacks) {
    const [reason, ...fix] = own.lacks.message.split("; ");
    obstacles.push({ reason: `here: ${reason}`, ...fixIn(fix) });
  } else if (wanted && !isNamed(asked, wanted.name))
    obstacles.push({
      reason: `${wanted.by} asks for ${wanted.name}`,
      fix: `leave out ${wanted.by}`,
    });
  const theirs = node.withheld.find((one) => one.name === name);
  if (theirs) {
    const { reason, fix } = theirs;
    obstacles.push({ reason, ...(fix === undefined ? {} : { fix }) });
  } else if (!node.offered.includes(name))
    obstacles.push({
      reason: "the node has never heard of it",
      fix: "update the node",
    });
  return obstacles;
}

function fixIn(clauses: readonly string[]): { fix?: string } {
  return clauses.length === 0 ? {} : { fix: clauses.join("; ") };
}
