import { createHash } from 'node:crypto';
import type PgBoss from 'pg-boss';
import { ElasticCacheError, reasonOf, shown } from '../errors.js';

/** Something to do, as it lies in a queue. */
export interface Task {
  /** Which command asked for it, and its place there. */
  readonly run: string;
  readonly place: number;
}

/** What one kind of jobs is called, and where its results lie. */
export interface Kind {
  readonly jobs: string;
  readonly table: string;
}

export type Job<T extends Task> = Pick<PgBoss.Job<T>, 'id' | 'data'>;

/** The schema of PostgreSQL that all of it lies in. */
const SCHEMA = 'elastic_cache';
const TRIES = 3;
/** Jobs of one insertion. */
const BATCH = 1000;

/**
 * Jobs and their results, in a PostgreSQL that many machines share. Each is done at least once, since a machine may die when it is done, and its result written once: the first stays.
 */
export class JobQueue<T extends Task, Result> {
  /** Jobs that were tried too often. */
  readonly #dead: string;

  private constructor(
    private readonly boss: PgBoss,
    private readonly kind: Kind,
  ) {
    this.#dead = `${kind.jobs}-dead`;
  }

  /**
   * @param address postgres://...
   * @param onError told what goes wrong beside all calls, such as a connection that breaks
   * @throws ElasticCacheError 'invalid-option' when pg-boss is not installed, or the database does not answer
   */
  static async open<T extends Task, Result>(
    address: string,
    kind: Kind,
    onError: (error: Error) => void,
  ): Promise<JobQueue<T, Result>> {
    const { default: Boss } = await import('pg-boss').catch((cause: unknown) => {
      throw new ElasticCacheError(
        'invalid-option',
        '--queue needs pg-boss, which is not installed; add it: npm install pg-boss@10.',
        { cause },
      );
    });
    if (!/^postgres(ql)?:\/\//.test(address)) {
      throw new ElasticCacheError(
        'invalid-option',
        `--queue ${shown(address)} is no address of a PostgreSQL; give one such as postgres://user:password@host/database.`,
      );
    }
    const boss = new Boss({
      connectionString: address,
      schema: SCHEMA,
      schedule: false,
      maintenanceIntervalSeconds: 10,
    });
    boss.on('error', onError);
    try {
      await boss.start();
      await whoeverElseDoes(() => boss.createQueue(`${kind.jobs}-dead`));
      await whoeverElseDoes(() => boss.createQueue(kind.jobs));
      await whoeverElseDoes(() =>
        boss
          .getDb()
          .executeSql(
            `create table if not exists ${SCHEMA}.${kind.table} (run text, place integer, result json not null, made timestamptz not null default now(), primary key (run, place))`,
            [],
          ),
      );
    } catch (cause) {
      await boss.stop({ graceful: false }).catch(() => {});
      throw new ElasticCacheError(
        'invalid-option',
        `The queue cannot be opened (${reasonOf(cause)}); check --queue postgres://user:password@host/database.`,
        { cause },
      );
    }
    return new JobQueue<T, Result>(boss, kind);
  }

  /** Puts tasks in; those that are there already stay as they are. @param expireSeconds after which a worker that was given one is taken for dead */
  async add(tasks: readonly T[], expireSeconds: number): Promise<void> {
    for (let from = 0; from < tasks.length; from += BATCH) {
      const jobs = tasks.slice(from, from + BATCH).map((data) => ({
        id: idOf(data),
        name: this.kind.jobs,
        data,
        retryLimit: TRIES - 1,
        expireInSeconds: expireSeconds,
        deadLetter: this.#dead,
      }));
      await this.boss.insert(jobs);
    }
  }

  /** Results of a run from a place on, in their order, without a gap. */
  async results(run: string, from: number): Promise<Result[]> {
    const { rows } = await this.boss
      .getDb()
      .executeSql(
        `select place, result from ${SCHEMA}.${this.kind.table} where run = $1 and place >= $2 order by place limit ${BATCH}`,
        [run, from],
      );
    const found = rows as { place: number; result: Result }[];
    const end = found.findIndex(({ place }, index) => place !== from + index);
    return found.slice(0, end < 0 ? found.length : end).map(({ result }) => result);
  }

  /** Some jobs to do. */
  take(most: number): Promise<Job<T>[]> {
    return this.boss.fetch<T>(this.kind.jobs, { batchSize: most });
  }

  async done({ id, data }: Job<T>, result: Result): Promise<void> {
    await this.#write(data, result);
    await this.boss.complete(this.kind.jobs, id);
  }

  /** Gives a job back: it is tried again, or given up. */
  async failed({ id }: Job<T>, cause: unknown): Promise<void> {
    await this.boss.fail(this.kind.jobs, id, { message: reasonOf(cause) });
  }

  /** Takes jobs back from machines that are no more, and writes down those that were tried too often. @param givenUp the result of such a job, with the reason in words */
  async tidy(givenUp: (task: T, reason: string) => Result): Promise<void> {
    await this.boss.expire();
    for (const { id, data } of await this.boss.fetch<T>(this.#dead, { batchSize: 100 })) {
      await this.#write(data, givenUp(data, `was given up: ${TRIES} workers that had it failed or died`));
      await this.boss.complete(this.#dead, id);
    }
  }

  /** How many jobs are how far. */
  async states(): Promise<{ state: string; count: number }[]> {
    const { rows } = await this.boss
      .getDb()
      .executeSql(
        `select state::text, count(*)::int from ${SCHEMA}.job where name = '${this.kind.jobs}' group by 1 order by 1`,
        [],
      );
    return rows;
  }

  async close(): Promise<void> {
    await this.boss.stop({ graceful: false, wait: true });
  }

  async #write({ run, place }: Task, result: Result): Promise<void> {
    await this.boss
      .getDb()
      .executeSql(
        `insert into ${SCHEMA}.${this.kind.table} (run, place, result) values ($1, $2, $3) on conflict do nothing`,
        [run, place, JSON.stringify(result)],
      );
  }
}

/** How often something is made, where others make it at the same moment. */
const MOST_AT_ONCE = 5;
/** PostgreSQL's codes for what fails because another machine makes the same at the moment: a deadlock, and what is there by then. */
const AT_ONCE = ['40P01', '40001', '23505', '42P07', '42710'];

/** Makes something that is there when it is there already, again where another machine was in the way. */
async function whoeverElseDoes(make: () => Promise<unknown>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await make();
      return;
    } catch (cause) {
      const { code = '' } = Object(cause) as { code?: string };
      if (tries === MOST_AT_ONCE || !AT_ONCE.includes(code)) throw cause;
    }
  }
}

/** The same for the same task, in the form of a UUID: what is put in twice is there once. */
function idOf({ run, place }: Task): string {
  const hash = createHash('sha256').update(`${run} ${place}`).digest('hex');
  return hash.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/, '$1-$2-$3-$4-$5');
}
