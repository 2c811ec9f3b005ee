"""Every stable code a user, an agent or an API client can meet, in one place with its meaning."""

from enum import StrEnum


class Code(StrEnum):
    """
    A stable name of what went wrong.

    Programs switch on these; words beside them may change. `MEANING` has one sentence for each.
    """

    # documents and messages
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNKNOWN_MESSAGE = "unknown_message"
    OUT_OF_TURN = "out_of_turn"
    BAD_SIGNATURE = "bad_signature"
    WRONG_DOCUMENT = "wrong_document"
    WEAK_KEY = "weak_key"
    CHAIN_GAP = "chain_gap"
    # enrollment and link
    TOKEN_UNKNOWN = "token_unknown"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_USED = "token_used"
    TOKEN_FOREIGN = "token_foreign"
    IDENTITY_CONFLICT = "identity_conflict"
    ALREADY_ENROLLED = "already_enrolled"
    NOT_ENROLLED = "not_enrolled"
    UNKNOWN_KEY = "unknown_key"
    REVOKED = "revoked"
    CLONE = "clone"
    DUPLICATE = "duplicate"
    WRONG_ORIGIN = "wrong_origin"
    SLOW_DOWN = "slow_down"
    CLOCK_SKEW = "clock_skew"
    COLLECTOR_UNREACHABLE = "collector_unreachable"
    COLLECTOR_UNTRUSTED = "collector_untrusted"
    # orders
    WRONG_MACHINE = "wrong_machine"
    EXPIRED = "expired"
    REPLAYED = "replayed"
    ID_REUSE = "id_reuse"
    CLOCK_UNTRUSTED = "clock_untrusted"
    NOT_ALLOWED = "not_allowed"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    UNSUPPORTED = "unsupported"
    JOURNAL_UNWRITABLE = "journal_unwritable"
    WIPER_UNAVAILABLE = "wiper_unavailable"
    # accounts
    BAD_ACCOUNT_NAME = "bad_account_name"
    PROTECTED_ACCOUNT = "protected_account"
    UNKNOWN_ACCOUNT = "unknown_account"
    ACCOUNT_EXISTS = "account_exists"
    ACCOUNT_MISMATCH = "account_mismatch"
    STALE_ACCOUNT = "stale_account"
    SHARED_UID = "shared_uid"
    UNSAFE_HOME = "unsafe_home"
    ACCOUNT_FAILED = "account_failed"
    # benchmarks
    NO_SPACE = "no_space"
    NO_DIRECT_IO = "no_direct_io"
    DISTURBED = "disturbed"
    BENCHMARK_FAILED = "benchmark_failed"
    NO_GPU = "no_gpu"
    NO_SERVER = "no_server"
    TICKET_REFUSED = "ticket_refused"
    OVER_BUDGET = "over_budget"
    BOOKED = "booked"
    # API
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID = "invalid"
    CONFLICT = "conflict"
    REFERENCE_MISSING = "reference_missing"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    RANGE_TOO_LARGE = "range_too_large"
    HISTORY_UNREADABLE = "history_unreadable"
    STORE_UNAVAILABLE = "store_unavailable"
    INTERNAL = "internal"
    # local
    NOT_INSTALLED = "not_installed"
    CANNOT_CREATE = "cannot_create"
    BAD_CONFIGURATION = "bad_configuration"
    STATE_UNWRITABLE = "state_unwritable"
    STATE_CORRUPT = "state_corrupt"
    ALREADY_RUNNING = "already_running"
    PORT_IN_USE = "port_in_use"
    DATABASE_MISSING = "database_missing"
    DATABASE_NEWER = "database_newer"
    DATABASE_OLDER = "database_older"
    DATABASE_LOCKED = "database_locked"
    DATABASE_UNREACHABLE = "database_unreachable"


MEANING: dict[Code, str] = {
    Code.TOO_LARGE: "The message or body is larger than the limit.",
    Code.MALFORMED: "The text is not the JSON this place takes.",
    Code.UNKNOWN_MESSAGE: "The message's type is not one this side knows.",
    Code.OUT_OF_TURN: "The message is known, but not allowed at this point of the conversation.",
    Code.BAD_SIGNATURE: "The signature does not fit the document and the key.",
    Code.WRONG_DOCUMENT: "A signed document of another kind stands where this one is expected.",
    Code.WEAK_KEY: "The public key is of small order or not in canonical form; anyone could sign with it.",
    Code.CHAIN_GAP: "A certificate's predecessor is missing, or another certificate names the same one.",
    Code.TOKEN_UNKNOWN: "No such enrollment token.",
    Code.TOKEN_EXPIRED: "The enrollment token's time is over; make a new one.",
    Code.TOKEN_USED: "The enrollment token has been used by another machine; it works once.",
    Code.TOKEN_FOREIGN: "The enrollment token belongs to another customer or another machine.",
    Code.IDENTITY_CONFLICT: "Another machine already holds this hardware id; an admin has to decide.",
    Code.ALREADY_ENROLLED: "This machine is enrolled already.",
    Code.NOT_ENROLLED: "This machine is not enrolled yet.",
    Code.UNKNOWN_KEY: "The machine or its key is not registered here.",
    Code.REVOKED: "The machine's key has been revoked.",
    Code.CLONE: "A copy of this machine's state has connected before it: a cloned disk.",
    Code.DUPLICATE: "The same machine connected again; the older connection is closed.",
    Code.WRONG_ORIGIN: "The agent meant another collector.",
    Code.SLOW_DOWN: "Too many messages or connections; try again later.",
    Code.CLOCK_SKEW: "The two clocks are far apart.",
    Code.COLLECTOR_UNREACHABLE: "The collector cannot be reached.",
    Code.COLLECTOR_UNTRUSTED: "The collector's signature does not fit the key pinned at enrollment.",
    Code.WRONG_MACHINE: "The order is for another machine.",
    Code.EXPIRED: "The order's time is over.",
    Code.REPLAYED: "An order with this or a higher sequence number was taken before.",
    Code.ID_REUSE: "The command id was used before for different content.",
    Code.CLOCK_UNTRUSTED: "The machine's clock cannot be trusted, so nothing destructive is done.",
    Code.NOT_ALLOWED: "The provider's policy on this machine does not allow it.",
    Code.BUSY: "Another exclusive piece of work is running.",
    Code.INTERRUPTED: "The work was cut off too often and was given up.",
    Code.UNSUPPORTED: "This version cannot do that.",
    Code.JOURNAL_UNWRITABLE: "The journal cannot be written, and without a journal there is no wipe.",
    Code.WIPER_UNAVAILABLE: "The privileged wiper does not answer.",
    Code.BAD_ACCOUNT_NAME: "That is not an account name; paths, patterns and option-like names are refused.",
    Code.PROTECTED_ACCOUNT: "The account is protected: root, a system account, or named in the policy.",
    Code.UNKNOWN_ACCOUNT: "No tenant's record for this account exists on this machine.",
    Code.ACCOUNT_EXISTS: "The account exists already and was not made for this grant.",
    Code.ACCOUNT_MISMATCH: "The account on the machine is not the one recorded when access was granted.",
    Code.STALE_ACCOUNT: "The order was made for an earlier holder of this account.",
    Code.SHARED_UID: "Two accounts share the user id.",
    Code.UNSAFE_HOME: "The home directory is a link, foreign, outside the home roots, or holds another home.",
    Code.ACCOUNT_FAILED: "The system's own tool could not make or change the account.",
    Code.NO_SPACE: "Too little free space to measure without harm.",
    Code.NO_DIRECT_IO: "The file system does not do direct I/O, so its speed cannot be told from the cache's.",
    Code.DISTURBED: "Other work took too much of the machine for a fair figure.",
    Code.BENCHMARK_FAILED: "The benchmark ended without a figure.",
    Code.NO_GPU: "There is no GPU that can be measured.",
    Code.NO_SERVER: "No measuring server was named, or it does not answer, or it is full.",
    Code.TICKET_REFUSED: "The measuring server does not take this ticket: forged, used, expired, or for another one.",
    Code.OVER_BUDGET: "The month's data budget for bandwidth measurements is used up.",
    Code.BOOKED: "A tenant is on the machine, or is about to be; nothing is measured at his cost.",
    Code.UNAUTHENTICATED: "A valid API token is needed.",
    Code.FORBIDDEN: "The API token does not allow this.",
    Code.NOT_FOUND: "There is no such object here.",
    Code.METHOD_NOT_ALLOWED: "This address does not take that method.",
    Code.INVALID: "A value is missing or not acceptable.",
    Code.CONFLICT: "The request does not fit what is stored.",
    Code.REFERENCE_MISSING: "The request names an object that does not exist.",
    Code.IDEMPOTENCY_MISMATCH: "The Idempotency-Key was used before with another request.",
    Code.RANGE_TOO_LARGE: "The answer would hold too many values; ask for less time, fewer series or longer steps.",
    Code.HISTORY_UNREADABLE: "A stored part of a machine's history cannot be read back; the rest can.",
    Code.STORE_UNAVAILABLE: "The database cannot be used right now; nothing was changed.",
    Code.INTERNAL: "Something broke on our side; the log has the details under the request id.",
    Code.NOT_INSTALLED: "A library that this part needs is not installed.",
    Code.CANNOT_CREATE: "The file cannot be made, or is there already; nothing is overwritten.",
    Code.BAD_CONFIGURATION: "The configuration has an unknown or unacceptable setting.",
    Code.STATE_UNWRITABLE: "The state directory cannot be written.",
    Code.STATE_CORRUPT: "A file of the state directory cannot be read back.",
    Code.ALREADY_RUNNING: "Another process uses this state directory.",
    Code.PORT_IN_USE: "Another program listens on this address already.",
    Code.DATABASE_MISSING: "The database has no schema yet; run the migration.",
    Code.DATABASE_NEWER: "The database was made by a newer version of this program.",
    Code.DATABASE_OLDER: "The database is older than this program; run the migration.",
    Code.DATABASE_LOCKED: "Another process holds the database's lock.",
    Code.DATABASE_UNREACHABLE: "The database server does not answer.",
}


class Trouble(Exception):  # noqa: N818 - it is what users meet, not only errors of ours
    """
    Something a user can understand and mend: a stable code, one line of words, and where it helps a remedy.

    Args:
        code: What went wrong.
        detail: One line about this occurrence; the code's meaning when left out.
        remedy: What to do about it, one line.
    """

    def __init__(self, code: Code, detail: str = "", remedy: str = "") -> None:
        self.code = code
        self.detail = detail or MEANING[code]
        self.remedy = remedy
        super().__init__(f"{code}: {self.detail}")
