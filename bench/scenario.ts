/** What `rfaas bench` measures: each scenario has a name, options, columns of its own and a way to run. `scenarios/registry.ts` lists them. */
import type { Static, TObject } from "@sinclair/typebox";
import type { NodeInvoker } from "../src/client/node-invoker.ts";
import type { FabricOptions } from "../src/fabric/registry.ts";
import type { InvokerOptions } from "../src/client/options/connect-options.ts";
import type { Column, Row } from "./rows.ts";

/** Where it is measured. */
export interface Bench {
  /** Names the node, the fabric and its device, as the command line did; without a node a private one is meant. */
  readonly where: Pick<InvokerOptions, "node"> & FabricOptions;
  /** Connects to the node; the caller closes. */
  open(): Promise<NodeInvoker>;
  /** Tells a person what is being measured. */
  tell(line: string): void;
  /** Tells how far it is, before window or round number `window` begins, of so many; never while one is measured. */
  at(window: number, windows: number): void;
}

export interface Measured<Own extends Row = Row> {
  row: Own;
  /** Warnings about what makes the figures less reliable. */
  warning?: string | undefined;
}

export interface ScenarioOf<Options extends TObject, Own extends Row> {
  /** The word of the command line. */
  readonly name: string;
  /** What it measures, in a clause. */
  readonly summary: string;
  readonly options: Options;
  /** Behind the columns that every row has. */
  columns(row: Own): Column[];
  /**
   * Measures, and hands out each row as soon as it is there.
   *
   * @throws {Error} a result of a call is wrong
   */
  run(bench: Bench, options: Static<Options>): AsyncIterable<Measured<Own>>;
}

/** A scenario of which only its own file knows the options and the rows. */
export type Scenario = ScenarioOf<TObject, Row>;

/** Lets `run` and `columns` know options and rows by their types. */
export const defineScenario = <Options extends TObject, Own extends Row>(
  scenario: ScenarioOf<Options, Own>,
): Scenario => scenario;
