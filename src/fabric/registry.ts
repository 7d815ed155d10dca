/** The fabrics that there are, and which of them a client and a node take. */
import { type Static, Type } from "@sinclair/typebox";
import type { Region } from "../../ffi/region.ts";
import { FabricUnavailable, ProtocolError } from "../base/errors.ts";
import { choice, truth } from "../options/fields.ts";
import type { OneSidedCounters } from "./counters.ts";
import type { Fabric, FabricOffer, Greeting, ListenOrder, Listener } from "./fabric.ts";
import { ofiHardware, ofiOthers } from "./ofi/fabric.ts";
import { OfiOptions } from "./ofi/options.ts";
import { shm } from "./shm/fabric.ts";
import { tcp } from "./tcp/fabric.ts";
import { verbs } from "./verbs/fabric.ts";
import { VerbsOptions } from "./verbs/options.ts";

/** A further fabric is a line here and, where it has options, one of {@link fabricFields}. The first that both sides have is taken. */
const FABRICS = [shm, verbs, ...ofiHardware, tcp, ...ofiOthers] as const;

/** Apart from the fabrics, so that the declarations of the library, which have the type of this, have nothing of theirs. */
const NAMES = FABRICS.map(({ name }) => name);

/** Several fabrics have one name, by which the best of them is taken. */
const FAMILIES = ["ofi"] as const;

/** What moves the bytes of calls. */
export type FabricName = (typeof NAMES)[number];

/** What a program can ask for: a fabric, or the best of a family. */
export type FabricChoice = FabricName | (typeof FAMILIES)[number];

export const fabrics: readonly Fabric<FabricName>[] = FABRICS;

/** Between processes of one machine, when none is asked for. */
export const LOCAL_FABRIC = shm.name;

/** Those that reach other machines. */
const between = fabrics.filter(({ sharesMemory, family }) => !sharesMemory && !family);

/** For messages: `--fabric` with one of them serves clients of other machines. */
export const namesBetweenMachines = between.map(({ name }) => name).join(" or ");

/** What a program can say of fabrics: the one that it wants, and the options of each by its name. */
export const fabricFields = {
  /** What moves the bytes of calls. Default: the first that client and node both have. */
  fabric: Type.Optional(
    choice([...NAMES, ...FAMILIES], {
      description: "what moves the bytes of calls",
      otherwise: `${LOCAL_FABRIC} on one machine, else ${namesBetweenMachines}`,
      flag: true,
      placeholder: [
        ...fabrics.flatMap(({ name, family }) => (family ? [] : [name])),
        ...FAMILIES.flatMap((family) => [family, `${family}:provider`]),
      ].join("|"),
    }),
  ),
  /** Encrypt what leaves this machine; fabrics that cannot are left out, and a lease that nothing encrypts is refused. Default false. */
  encrypt: Type.Optional(
    truth({
      description: "encrypt the data of leases over a network, or refuse them",
      default: false,
      flag: true,
    }),
  ),
  /** Which RDMA device, port and GID to use on this side, and how much travels inline. Default: found out. */
  verbs: Type.Optional(VerbsOptions),
  /** Which provider of libfabric to use on this side, and its key. Default: found out. */
  ofi: Type.Optional(OfiOptions),
};
const FabricOptions = Type.Object(fabricFields);
export type FabricOptions = Static<typeof FabricOptions>;

/** Whether the fabric is one that is asked for by this name. */
export const isNamed = ({ name, family }: Fabric, asked: string | undefined): boolean =>
  asked !== undefined && (name === asked || family === asked);

/** Undefined when there is none of this name. */
export function fabricNamed(name: string): Fabric<FabricName> | undefined {
  return fabrics.find((fabric) => fabric.name === name);
}

/** The fabrics with counters that peers raise by themselves. */
export const counting: readonly { name: FabricName; title: string; counters: OneSidedCounters }[] =
  fabrics.flatMap(({ name, title, counters }) => (counters ? [{ name, title, counters }] : []));

/** Those whose clients bring their data to the node's own port. */
export const greetings: readonly Greeting[] = [
  ...new Set(fabrics.flatMap(({ greeting }) => greeting ?? [])),
];

/** In a host: begins to listen for the client of a lease over the fabric. */
export function listenOver(
  name: string,
  region: Region,
  order: ListenOrder,
  nonce: Uint8Array,
): Promise<Listener> {
  const fabric = fabricNamed(name);
  if (fabric && order.encrypt && !fabric.encryption)
    throw new ProtocolError(`the fabric ${name} encrypts nothing; update the older side`);
  const listening = fabric?.listen?.(region, order, nonce);
  if (listening) return listening;
  throw new ProtocolError(`no client can connect over the fabric ${name}; update the older side`);
}

/** What is asked of one fabric: texts and numbers, as a command line has them. */
export function optionsOf(
  fabric: Fabric,
  all: FabricOptions,
): Readonly<Record<string, string | number | undefined>> {
  return { ...(all as Readonly<Record<string, object | undefined>>)[fabric.family ?? fabric.name] };
}

/** The fabric that is asked for by an option of its own; undefined when none is. */
export function askedFor(options: FabricOptions): Fabric<FabricName> | undefined {
  return fabrics.find((fabric) => fabric.askedBy(optionsOf(fabric, options)) !== undefined);
}

/** An option may name one of the family that is wanted. */
const isWanted = (fabric: Fabric, wanted: FabricChoice, named: Fabric | undefined): boolean =>
  isNamed(fabric, wanted) && (named?.family !== wanted || fabric === named);

/** A fabric that a process does not use, and why: this machine lacks something, or another fabric is asked for. */
export interface Withheld {
  fabric: Fabric<FabricName>;
  /** Undefined where another one is asked for. */
  lacks: FabricUnavailable | undefined;
}

/** What a process can use `among` the given fabrics, and what not. */
export interface Survey {
  offers: FabricOffer[];
  withheld: Withheld[];
}

/** Looks at each fabric. With `encrypt`, those that would send something in clear are withheld. Unlike {@link offerFabrics} it fails on none that this machine lacks. */
export function surveyFabrics(
  options: FabricOptions,
  among: readonly Fabric<FabricName>[] = fabrics,
): Survey {
  const { fabric: wanted } = options;
  const named = askedFor(options);
  const survey: Survey = { offers: [], withheld: [] };
  for (const fabric of among) {
    if (wanted !== undefined && !isWanted(fabric, wanted, named)) {
      survey.withheld.push({ fabric, lacks: undefined });
      continue;
    }
    try {
      if (wanted === undefined && fabric.onRequest && fabric !== named)
        throw new FabricUnavailable(
          `${fabric.name} is used only when it is asked for; use --fabric ${fabric.name}`,
        );
      const problem = options.encrypt ? encryptionProblem(fabric) : null;
      if (problem !== null) throw new FabricUnavailable(`${problem}, or leave --encrypt out`);
      survey.offers.push(fabric.offer(optionsOf(fabric, options)));
    } catch (error) {
      if (!(error instanceof FabricUnavailable)) throw error;
      survey.withheld.push({ fabric, lacks: error });
    }
  }
  return survey;
}

/** Looks at all fabrics, at those that are not asked for, too. Those that are used only on request are offered where they are asked for. */
export function surveyAll(options: FabricOptions): Survey {
  const { fabric: wanted, ...rest } = options;
  const named = askedFor(options);
  const isAsked = (one: Fabric): boolean => wanted !== undefined && isWanted(one, wanted, named);
  const asked = surveyFabrics(options, fabrics.filter(isAsked));
  const others = surveyFabrics(
    rest,
    fabrics.filter((one) => !isAsked(one)),
  );
  return {
    offers: [...asked.offers, ...others.offers],
    withheld: [...asked.withheld, ...others.withheld],
  };
}

/**
 * The survey, when this process can use what is asked for.
 *
 * @throws {FabricUnavailable} this process cannot use the fabric that is wanted, or that an option of its own asks for, or can encrypt
 * nothing of what it would have to send
 */
export function demandAsked(options: FabricOptions, survey: Survey): Survey {
  // Of a family one is enough; where there is none, the last says why: it needs least.
  for (const { fabric, lacks } of survey.withheld.toReversed()) {
    const asked = options.fabric ?? fabric.askedBy(optionsOf(fabric, options));
    const isEnough = asked === fabric.family && survey.offers.length > 0;
    if (lacks && asked !== undefined && !isEnough) throw lacks;
    const inClear = options.encrypt && survey.offers.every((offer) => offer.fabric.sharesMemory);
    if (lacks && inClear && fabric.encryption) throw lacks;
  }
  return survey;
}

/**
 * The fabrics that this process can use: the wanted one, else those `among` the given ones that it has. With `encrypt`, those that
 * encrypt what they send, and those that send nothing.
 *
 * @throws {FabricUnavailable} as {@link demandAsked} does
 */
export function offerFabrics(
  options: FabricOptions,
  among: readonly Fabric<FabricName>[] = fabrics,
): FabricOffer[] {
  return demandAsked(options, surveyFabrics(options, among)).offers;
}

/** Those that a client looks at: networks only where they are asked for, or the node may be on another machine. */
export function considered(options: FabricOptions, remote: boolean): Fabric<FabricName>[] {
  const asked = askedFor(options);
  return fabrics.filter(
    (fabric) =>
      ((fabric.sharesMemory || remote) && !fabric.onRequest) ||
      isNamed(fabric, options.fabric) ||
      fabric === asked,
  );
}

/** Why what travels over the fabric would not be encrypted, in words that end with what to do; null where it can be, or nothing travels. */
export function encryptionProblem({ name, sharesMemory, encryption }: Fabric): string | null {
  if (sharesMemory) return null;
  if (!encryption) {
    const others = between.flatMap((one) => (one.encryption ? one.name : []));
    return `the fabric ${name} does not encrypt what it sends; take ${others.join(" or ")}`;
  }
  const problem = encryption.problem();
  return problem === null ? null : `what the fabric ${name} sends cannot be encrypted: ${problem}`;
}

/** The names of what is offered. */
export const namesOf = (offers: readonly FabricOffer[]): string[] =>
  offers.map(({ fabric }) => fabric.name);

/** The fabric of a lease: the first of those that both sides can use. */
export function chooseFabric(
  offered: readonly string[],
  wanted: FabricChoice | undefined,
): FabricName | undefined {
  return fabrics.find(
    (fabric) => (wanted === undefined || isNamed(fabric, wanted)) && offered.includes(fabric.name),
  )?.name;
}

/** Of what a node offers, what a client can use. */
export function sharedFabrics(
  offers: readonly FabricOffer[],
  theirs: readonly string[],
  sameMachine: boolean,
): string[] {
  const ours = offers.filter(({ fabric }) => sameMachine || !fabric.sharesMemory);
  return namesOf(ours).filter((name) => theirs.includes(name));
}

/** Why {@link sharedFabrics} are none, in words that end with what to do. */
export function explainNoFabric(
  offers: readonly FabricOffer[],
  theirs: readonly string[],
  sameMachine: boolean,
): string {
  if (sameMachine)
    return `the node serves ${namesOf(offers).join(" and ")} and the client wants ${theirs.join(" or ")}; start the node with --fabric, or use another fabric`;
  const reaching = offers.filter(({ fabric }) => !fabric.sharesMemory);
  if (reaching.length === 0)
    return `the client is on another machine, or in another network namespace of this one, and the node serves ${namesOf(offers).join(" and ")} alone, which reaches none; serve with --fabric ${namesBetweenMachines}`;
  const needed = reaching.flatMap(({ fabric: { needs } }) => needs ?? []).join(" or ");
  const serving = theirs.filter((name) => fabricNamed(name)?.sharesMemory === false);
  const remedy = [
    ...(serving.length > 0 ? [`serve with --fabric ${serving.join(" or ")}`] : []),
    `let the client use --fabric ${namesOf(reaching).join(" or ")}`,
  ].join(", or ");
  const lacks = needed === "" ? "" : ` (it needs ${needed}; see: rfaas doctor)`;
  return `the client is on another machine, or in another network namespace of this one, which the node reaches over ${namesOf(reaching).join(" or ")}${lacks}, and wants ${theirs.join(" or ")}; ${remedy}`;
}
