/** What the battery of values is made of. */

export interface Sample {
  name: string;
  make: () => unknown;
  /** The part that is refused, `/` for the value itself, or `anywhere`; undefined when the value arrives equal. */
  refused?: string;
}

export class Battery {
  readonly samples: Sample[] = [];

  push(sample: Sample): void {
    this.samples.push(sample);
  }

  /** Arrives equal. */
  readonly equal = (name: string, make: () => unknown): void => this.push({ name, make });

  /** Arrives equal, alone and as a part. */
  readonly scalar = (name: string, make: () => unknown): void => {
    this.equal(name, make);
    this.equal(`${name}, in an array and an object`, () => [make(), { part: make() }]);
  };

  /** Refused, alone and as a part, by the path of what is wrong with it. */
  readonly refused = (name: string, make: () => unknown, path = ""): void => {
    this.push({ name, make, refused: path || "/" });
    this.push({ name: `${name}, in an object`, make: () => ({ a: make() }), refused: `/a${path}` });
  };
}
