import socket

from llm_lab.ports import HOST, free_ports


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert next(free_ports(port)) > port


def test_ports_of_one_generator_differ() -> None:
    ports = free_ports(20000)
    assert next(ports) != next(ports)
