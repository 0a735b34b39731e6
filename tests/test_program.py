"""The protocol: programs, the driver, and what becomes of errors."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import attrs
import numpy
import pytest
import torch
from torch.distributions import Normal

from poutine import (
    BadReply,
    BadRules,
    Coroutine,
    DistributionError,
    Fleet,
    Handling,
    Message,
    NotAMessage,
    NotAProgram,
    Observe,
    Poutine,
    Program,
    Rule,
    Rules,
    Sample,
    ScalePoutine,
    UnhandledMessage,
    answer,
    drive,
    mask,
    run,
    scale,
    seed,
    trace,
)
from poutine.driver.closing import close
from tests.script import AS_IT_IS, perform

D = Normal(0.0, 1.0)


def one(name: str = "x") -> Coroutine[Any]:
    return (yield Sample(name, D))


# Values


def test_a_program_is_a_value_that_can_be_run_again():
    program = Program(one, "a")
    assert program == Program(one, "a") != Program(one, "b")
    assert pickle.loads(pickle.dumps(program)) == program
    assert repr(program) == "one('a')"
    assert run(program) == run(program)


def test_handled_programs_compare_print_and_pickle():
    program = ScalePoutine(one, 2.0)("a")
    assert program == ScalePoutine(one, 2.0)("a") != ScalePoutine(one, 3.0)("a")
    assert pickle.loads(pickle.dumps(program)) == program
    assert repr(program) == "ScalePoutine(one, scale=2.0)('a')"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        program.fn = one
    with pytest.raises(TypeError, match="unhashable"):
        hash(program)


def test_a_chain_of_thousands_of_poutines_is_printed():
    deep = one
    for _ in range(3000):
        deep = ScalePoutine(deep, 2.0)
    assert repr(deep) == "ScalePoutine(" * 3000 + "one" + ", scale=2.0)" * 3000
    assert repr(deep("a")).startswith("ScalePoutine(ScalePoutine(")


def test_a_program_may_return_a_program():
    assert perform(Program(lambda name: Program(one, name), "z"), [(Sample("z", D), 4)]) == 4


# Running


def test_submodels_plain_and_as_programs_run_in_place():
    def model():
        a = yield from one("a")
        b = yield from Program(one, "b")
        c = yield from ScalePoutine(one, 2.0)("c")
        return [a, b, c]

    script = [(Sample("a", D), 1), (Sample("b", D), 2), (Sample("c", D).evolve(scale=2.0), 3)]
    assert perform(model, script) == [1, 2, 3]


def test_an_observation_gives_the_model_its_value():
    def model():
        return (yield Observe("y", D, 7.0))

    assert perform(model, [(Observe("y", D, 7.0), AS_IT_IS)]) == 7.0


@pytest.mark.parametrize("handled", [False, True])
def test_recursion_twenty_thousand_calls_deep(handled: bool):
    def count(n: int) -> Coroutine[int]:
        if n == 0:
            yield Sample("bottom", D)
            return 0
        below = yield from (ScalePoutine(count, 1.0)(n - 1) if handled else Program(count, n - 1))
        return below + 1

    depth = 20_000
    assert depth > sys.getrecursionlimit()
    assert run(Program(count, depth)) == depth


def test_an_error_twenty_thousand_calls_deep_closes_them_all():
    closed = []

    def dive(n: int) -> Coroutine[None]:
        try:
            yield from Program(dive, n - 1) if n else Program(fail)
        finally:
            closed.append(n)

    def fail() -> Coroutine[None]:
        yield Sample("x", D)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        run(Program(dive, 20_000))
    assert closed == list(range(20_001))


# What is no program and no message


@pytest.mark.parametrize(
    ("yielded", "hint"),
    [
        (Normal(0.0, 1.0), "did you mean `yield Sample"),
        (torch.zeros(()), "global generator"),
        (one("x"), "yield from"),
        (ScalePoutine(one, 2.0), "call it"),
        (3, "which is no message and no program; .* needs no yield: `yield Deterministic"),
        (numpy.ones(2), "needs no yield"),
        (("x", D), r"did you mean `yield Sample\('x', Normal\(loc: 0.0, scale: 1.0\)\)`"),
        ("x", r"did you mean `yield Sample\('x', distribution\)`"),
        (None, "a bare `yield` asks for nothing: write `x = yield Sample"),
        ([Sample("x", D)], "one message at a time: `for message in messages: value = yield message`"),
        ((Sample("x", D), Sample("y", D)), "one message at a time"),
        ((1.0, 2.0), "needs no yield"),
        ({"x": D}, "one message at a time: `for name, d in"),
        (Normal, r"did you mean `yield Sample\(name, Normal, \.\.\.\)`, with its arguments"),
        (Sample, r"did you mean `yield Sample\(name, distribution\)`"),
        (Observe, r"did you mean `yield Observe\(name, distribution, value\)`"),
        (ScalePoutine, "call it"),
        (object(), "which is no message and no program$"),
    ],
)
def test_yielding_something_else_names_the_model_the_line_and_the_thing(yielded: Any, hint: str):
    def slip():
        yield Sample("x", D)
        yield yielded

    line = slip.__code__.co_firstlineno + 2
    with pytest.raises(NotAMessage, match=hint) as caught:
        run(slip)
    assert "slip" in str(caught.value)
    assert f"line {line} of {__file__}" in str(caught.value)
    assert repr(yielded) in str(caught.value)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == line


def test_the_line_is_that_of_the_innermost_plain_submodel():
    def inner():
        yield 3

    def outer():
        yield from inner()

    with pytest.raises(NotAMessage, match=f"inner, line {inner.__code__.co_firstlineno + 1}"):
        run(outer)


@pytest.mark.parametrize("messages", [[Sample("x", D)], (Sample("x", D),), {"x": Sample("x", D)}.values()])
def test_yielding_from_a_list_of_messages_names_the_line(messages: Any):
    def slip():
        yield from messages

    line = slip.__code__.co_firstlineno + 1
    for program in (Program(slip), trace(slip)(), Program(lambda: Program(slip))):
        with pytest.raises(NotAProgram, match=f"slip, line {line} of .*iterator with `yield from`.*one at a time") as caught:
            run(program)
        assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == line
    with pytest.raises(NotAProgram, match=f"slip, line {line}"), Fleet(Program(slip), 2) as fleet:
        fleet.begin()
        fleet.reply([0, 1], [torch.ones(()), torch.ones(())], lambda j: None)


def test_an_attribute_that_a_model_itself_misses_is_its_own_affair():
    def model():
        yield Sample("x", D)
        None.send(3)

    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'send'"):
        run(model)


def test_a_coroutine_function_is_no_model():
    """Nor is what it returns left to be warned of."""

    async def awaited():
        return 1

    async def asynchronous():
        yield Sample("x", D)

    def yielding():
        yield awaited()

    for model in (awaited, asynchronous):
        with pytest.raises(NotAProgram, match="write `def`, not `async def`"):
            run(model)
    with pytest.raises(NotAMessage, match="yielding.*Await"):
        run(yielding)
    gc.collect()


@pytest.mark.parametrize("not_a_program", [3, None, Normal(0.0, 1.0)])
def test_programs_and_poutines_need_something_to_call(not_a_program: Any):
    with pytest.raises(NotAProgram):
        Program(not_a_program)
    with pytest.raises(NotAProgram):
        Poutine(not_a_program)


def test_a_poutine_wraps_a_function_not_a_program():
    with pytest.raises(NotAProgram, match="wrap what makes it"):
        Poutine(Program(one))


def test_a_function_that_is_no_generator_function():
    with pytest.raises(NotAProgram, match="returned 5"):
        run(lambda: 5)


def test_a_message_that_nobody_answers():
    @attrs.frozen(slots=False, eq=False)
    class Ask(Message):
        question: str

    def model():
        yield Ask("q", "why?")

    with pytest.raises(UnhandledMessage, match="Ask"):
        run(trace(model)())


# Messages of the user's own


@attrs.frozen(slots=False, eq=False)
class Ask(Message):
    question: str


@attrs.frozen(slots=False, eq=False, repr=False)
class Oracle(Poutine):
    known: dict[str, int]

    def rules(self) -> Rules:
        def tell(ask: Ask) -> Coroutine[Message]:
            if ask.question in self.known:
                return ask.evolve(value=self.known[ask.question])
            return (yield ask)

        return {Ask: Rule(around=tell)}


def asking():
    return ((yield Ask("q", "answer?")), (yield Ask("r", "other?")))


def test_a_users_message_is_answered_by_a_users_poutine_through_poutines_that_do_not_know_it():
    inner = Oracle(trace(ScalePoutine(asking, 2.0)), {"answer?": 42})
    assert run(Oracle(Poutine(inner), {"other?": 43, "answer?": 0})()) == (42, 43)


def test_what_the_runtime_refuses_is_not_recovered_from_by_a_poutine():
    """As Rule says: it may be raised as another error, or it is raised again."""

    @attrs.frozen(slots=False, eq=False, repr=False)
    class Saving(Poutine):
        def rules(self) -> Rules:
            def save(site: Sample) -> Coroutine[Message]:
                try:
                    return (yield site)
                except DistributionError:
                    return site.evolve(value=0.0)

            return {Sample: Rule(around=save)}

    def bad():
        yield Sample("x", 3)
        yield Sample("y", 4)

    with pytest.raises(DistributionError, match="'x'"):
        run(Saving(bad)())


def test_a_users_message_is_compared_printed_and_pickled():
    ask = Ask("q", "why?")
    assert ask == Ask("q", "why?") != Ask("q", "how?")
    assert repr(ask) == "Ask(name='q', value=UNDECIDED, question='why?')"
    assert pickle.loads(pickle.dumps(ask)) == ask
    assert ask.evolve(question="how?") == Ask("q", "how?")


def test_a_message_type_with_slots_is_refused():
    with pytest.raises(TypeError, match="slots=False"):

        @attrs.frozen
        class Slotted(Message):
            question: str


# Closing


class Resource:
    """Counts how often it was opened and closed, and holds on to the generators so that nothing but close closes them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.kept: list[Any] = []

    def guarded(self, body: Iterator[Any], name: str = "") -> Coroutine[Any]:
        def guard():
            try:
                self.events.append("open" + name)
                return (yield from body)
            finally:
                self.events.append("close" + name)

        self.kept.append(guard())
        return self.kept[-1]


def test_a_dropped_run_closes_every_generator_innermost_first():
    resource = Resource()

    def model():
        yield from Program(lambda: resource.guarded(one("x"), "d"))

    engine = drive(Program(lambda: resource.guarded(model(), "a")))
    next(engine)
    engine.close()
    assert resource.events == ["opena", "opend", "closed", "closea"]


def test_an_error_while_closing_does_not_keep_the_others_open():
    resource = Resource()

    def stubborn():
        try:
            yield Sample("x", D)
        finally:
            raise ArithmeticError("while closing")

    engine = drive(Program(lambda: resource.guarded(iter(Program(stubborn)))))
    next(engine)
    with pytest.raises(ArithmeticError, match="while closing"):
        engine.close()
    assert resource.events == ["open", "close"]


def test_a_program_that_yields_on_its_way_out_is_closed_all_the_same():
    resource = Resource()

    def untidy():
        try:
            yield Sample("x", D)
        finally:
            try:
                yield Sample("y", D)
            finally:
                resource.events.append("end")

    engine = drive(Program(lambda: resource.guarded(iter(Program(untidy)))))
    next(engine)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        engine.close()
    assert resource.events == ["open", "end", "close"]


def test_a_generator_that_goes_on_for_ever_is_given_up():
    times = []

    def stubborn():
        while len(times) < 150:
            try:
                yield Sample("x", D)
            except GeneratorExit:
                times.append(None)

    generator = stubborn()
    next(generator)
    for so_often in (100, 150):  # the second time it comes to its end
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            close(generator)
        assert len(times) == so_often


def test_interrupting_the_runtime_closes_the_program():
    resource = Resource()

    def interrupt(message: Message) -> Message:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answer(Program(lambda: resource.guarded(one())), {Sample: interrupt})
    assert resource.events == ["open", "close"]


def test_coroutines_of_poutines_are_closed():
    events = []

    class Guarded(Poutine):
        def coroutine(self, program: Program[Any]) -> Coroutine[Any]:
            try:
                return (yield Handling(program, self.rules()))
            finally:
                events.append("coroutine")

        def rules(self) -> Rules:
            def around(message: Message) -> Coroutine[Message]:
                try:
                    return (yield message)
                finally:
                    events.append("around")

            return {Sample: Rule(around=around)}

    engine = drive(Guarded(one)())
    next(engine)
    engine.close()
    assert events == ["around", "coroutine"]
    assert not gc.garbage


# Errors from outside


def test_an_error_of_the_runtime_is_raised_at_the_yield():
    def model():
        yield Sample("x", Normal, 0.0, -1.0)

    with pytest.raises(ValueError, match=r"site 'x'.*scale") as caught:
        run(model)
    project = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if "site-packages" not in frame.filename]
    assert (project[-1].name, project[-1].lineno) == ("model", model.__code__.co_firstlineno + 1)


def test_an_error_of_a_users_rule_keeps_the_line_in_the_rule():
    class Broken(Poutine):
        def rules(self) -> Rules:
            return {Sample: Rule(up=lambda message: 1 / 0)}

    with pytest.raises(ZeroDivisionError) as caught:
        run(Broken(one)())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-1] == "<lambda>"
    assert "one" in names


def test_a_program_may_turn_an_error_into_another():
    def model():
        try:
            yield Sample("x", D)
        except LookupError as error:
            raise ArithmeticError from error

    with pytest.raises(ArithmeticError):
        perform(model, [(Sample("x", D), LookupError())])


def swallowing(log: list[str]) -> Coroutine[Any]:
    try:
        yield Sample("x", D)
    except LookupError:
        log.append("swallowed")
    try:
        yield Sample("y", D)
    except LookupError:
        log.append("swallowed again")
    yield Sample("z", D)


def test_a_swallowed_error_is_raised_again_at_the_next_yield():
    def model():
        try:
            yield Sample("x", D)
        except LookupError:
            pass
        return (yield Sample("y", D))

    with pytest.raises(LookupError, match="no x"):
        perform(model, [(Sample("x", D), LookupError("no x"))])


def test_an_error_that_is_swallowed_twice_closes_the_program():
    log: list[str] = []
    with pytest.raises(LookupError, match="no x"):
        perform(Program(swallowing, log), [(Sample("x", D), LookupError("no x"))])
    assert log == ["swallowed", "swallowed again"]


# What ignores GeneratorExit cannot be closed; Python says so when it collects it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_program_that_swallows_for_ever_does_not_hide_the_error():
    log = []

    def stubborn():
        for _ in range(5):
            try:
                yield Sample("x", D)
            except BaseException as error:  # noqa: B036  # just this is what the test is about
                log.append(error)

    def outer():
        try:
            yield from Program(stubborn)
        except LookupError:
            log.append("outer")
            raise

    with pytest.raises(LookupError, match="no x") as caught:
        perform(outer, [(Sample("x", D), LookupError("no x"))])
    assert "could not be closed" in caught.value.__notes__[-1]
    assert log[-1] == "outer"


def test_an_error_that_is_swallowed_to_the_end_is_raised_by_the_run():
    def model():
        try:
            yield Sample("x", D)
        except LookupError:
            return 3

    with pytest.raises(LookupError, match="no x"):
        perform(model, [(Sample("x", D), LookupError("no x"))])


def test_who_swallows_an_error_twice_is_told_once():
    def model():
        for _ in range(2):
            try:
                yield Sample("x", D)
            except LookupError:
                pass

    with pytest.raises(LookupError, match="no x") as caught:
        perform(model, [(Sample("x", D), LookupError("no x"))])
    (note,) = caught.value.__notes__
    assert "model caught this at its yield and went on" in note


def test_an_error_that_a_submodel_lets_through_and_the_model_swallows_is_raised_again():
    def model():
        try:
            yield from Program(one, "x")
        except LookupError:
            pass
        yield Sample("y", D)

    with pytest.raises(LookupError, match="no x"):
        perform(model, [(Sample("x", D), LookupError("no x"))])


def test_a_coroutine_of_a_poutine_cannot_swallow_an_error_from_outside_either():
    class Swallowing(Poutine):
        def rules(self) -> Rules:
            def around(message: Message) -> Coroutine[Message]:
                try:
                    return (yield message)
                except LookupError:
                    return message.evolve(value=0)

            return {Sample: Rule(around=around)}

    def model():
        yield Sample("x", D)
        return (yield Sample("y", D))

    with pytest.raises(LookupError, match="no x"):
        perform(Swallowing(model)(), [(Sample("x", D), LookupError("no x"))])


class Refusing(Poutine):
    def rules(self) -> Rules:
        def refuse(message: Message) -> Message:
            raise LookupError("refused")

        return {Sample: Rule(up=refuse)}


def test_outside_of_the_poutine_that_raised_it_an_error_is_an_ordinary_exception():
    def model():
        try:
            yield from Refusing(one)("x")
        except LookupError as error:
            assert str(error) == "refused"
        return (yield Sample("y", D))

    assert perform(model, [(Sample("y", D), 5)]) == 5


def test_inside_of_the_poutine_that_raised_it_the_error_cannot_be_swallowed():
    def deaf():
        try:
            yield Sample("x", D)
        except LookupError:
            return 1

    def model():
        try:
            return (yield from Refusing(deaf)())
        except LookupError:
            return 2

    assert perform(model, []) == 2


def test_a_programs_own_error_may_be_caught_by_the_program_that_runs_it():
    def failing():
        yield Sample("x", D)
        raise ArithmeticError

    def model():
        try:
            yield from Poutine(failing)()
        except ArithmeticError:
            return (yield Sample("y", D))

    assert perform(model, [(Sample("x", D), 1), (Sample("y", D), 2)]) == 2


# Rules


def test_a_rule_says_one_thing_about_the_way_down():
    with pytest.raises(ValueError, match="down or undo"):
        Rule(down=lambda site: site, undo=lambda site: site)
    with pytest.raises(ValueError, match="stands alone"):
        Rule(around=lambda request: (yield request), undo=lambda site: site)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (Rule(up=lambda message: None), "on the way up, got None"),
        (Rule(down=lambda site: None), "from <lambda> on the way down, got None; return the site"),
        (Rule(down=lambda site: Sample("x", D)), "carries a value"),
    ],
)
def test_a_rule_that_returns_no_message_is_named(rule: Rule, problem: str):
    class Broken(Poutine):
        def rules(self) -> Rules:
            return {Sample: rule}

    with pytest.raises(BadReply, match=problem):
        run(Broken(one)())


def test_a_coroutine_that_forgets_to_return_the_site():
    class Forgetful(Poutine):
        def rules(self) -> Rules:
            def around(message: Message) -> Coroutine[Any]:
                yield message

            return {Sample: Rule(around=around)}

    with pytest.raises(BadReply, match=r"from .*Forgetful.rules.<locals>.around on the way down, got None; return the site"):
        run(Forgetful(one)())


@attrs.frozen(slots=False, eq=False, repr=False)
class Ruled(Poutine):
    made: Any

    def rules(self) -> Rules:
        return self.made


def gives_nothing(site: Message) -> Any:
    return None


def gives_the_value(site: Message) -> Any:
    return site.value


def looks(site: Message) -> Message:
    return site.evolve(value=site.value)


@pytest.mark.parametrize("gives", [gives_nothing, gives_the_value])
@pytest.mark.parametrize("inside", [(), (looks,), (looks, lambda site: site.replaced("value", 2), looks)])
@pytest.mark.parametrize("outside", [(), (looks,), (looks, looks)])
def test_whoever_gives_no_site_is_named_among_others(gives: Any, inside: Any, outside: Any):
    program: Any = one
    for down in (*inside, gives, *outside):
        program = Ruled(program, {Sample: Rule(down=down)})
    with pytest.raises(BadReply, match=f"from {gives.__name__} on the way down"):
        run(program())


def test_a_runtime_that_gives_no_site_is_named_by_nobody():
    for program in (Program(one), Ruled(one, {Sample: Rule(down=looks)})()):
        with pytest.raises(BadReply, match="as the answer, got 3"):
            answer(program, {Sample: lambda site: 3})


def test_a_reply_that_is_no_site_is_an_error_of_the_poutine_that_gave_it():
    """Outside of it, the error is an ordinary exception; inside, nobody may swallow it."""

    def outer():
        try:
            yield from Ruled(one, {Sample: Rule(down=gives_nothing)})()
        except BadReply:
            return "caught"

    assert run(Ruled(outer, {Sample: Rule(down=looks)})()) == "caught"


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"sample": Rule(up=looks)}, "the rules of Ruled: expected a message type, such as Sample, as a key, got 'sample'"),
        ({Normal: Rule(up=looks)}, "expected a message type, such as Sample, as a key, got <class"),
        ({Sample: looks}, r"expected a Rule for Sample, got <function looks.*; write Rule\(up=\.\.\.\)"),
        (None, r"expected a mapping from message types to rules, got None; a poutine without any returns \{\}"),
        ([Sample], "expected a mapping from message types to rules, got"),
    ],
)
def test_rules_are_looked_at_when_a_run_begins(rules: Any, problem: str):
    with pytest.raises(BadRules, match=problem):
        run(Ruled(one, rules)())

    def by_hand(program: Program[Any]) -> Coroutine[Any]:
        return (yield Handling(program, rules))

    with pytest.raises(BadRules, match=problem.replace("Ruled", ".*by_hand")):
        run(Program(by_hand, Program(one)))


def test_a_poutine_may_yield_more_than_once_run_programs_or_answer_itself():
    class Mean(Poutine):
        def rules(self) -> Rules:
            def around(message: Sample) -> Coroutine[Message]:
                first = yield message.evolve(name="first")
                second = yield from Program(one, "second")
                return message.evolve(value=(first.value + second) / 2)

            return {Sample: Rule(around=around)}

    assert perform(Mean(one)(), [(Sample("first", D), 1), (Sample("second", D), 3)]) == 2


def test_rules_are_found_for_subclasses_of_a_message_type():
    @attrs.frozen(slots=False, eq=False, repr=False, init=False)
    class Special(Sample):
        pass

    def model():
        return (yield Special("x", D))

    seen = run(trace(ScalePoutine(model, 2.0)).traced())
    assert seen["x"].scale == 2.0
    assert type(seen["x"]) is Special


@scale(scale=2.0)
def decorated():
    return (yield Sample("x", D))


def test_a_decorated_function_of_a_module_is_pickled_by_its_name():
    """As any function is: it stands where the function says that it is."""
    again = pickle.loads(pickle.dumps(decorated))
    assert again is decorated
    outer = mask(seed(decorated, seed=3), mask=True)
    assert pickle.loads(pickle.dumps(outer)) == outer
    assert pickle.loads(pickle.dumps(outer)).fn.fn is decorated
    inside = scale(decorated.fn, scale=3.0)
    for whole in (decorated(), outer(), inside, inside(), copy.copy(decorated), copy.copy(outer())):
        again = pickle.loads(pickle.dumps(whole))
        assert again == whole == copy.copy(whole) == copy.deepcopy(whole)
        assert run(again) == run(whole)
    assert pickle.loads(pickle.dumps(inside)).fn is decorated.fn
